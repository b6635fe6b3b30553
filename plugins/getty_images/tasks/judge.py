"""The task `judge` of the lookup DAG. Imported while the DAG is parsed: what it does is imported when it runs."""

from collections.abc import Mapping
from typing import Any

from getty_images.approval import ApprovalTask

SUBJECT = "More assets than usual are gone: do these verdicts count?"


class JudgeTask(ApprovalTask):
    """Lets verdicts count, and asks a person where too many assets of a reconciliation are gone."""

    def question(self, context: Mapping[str, Any]) -> str | None:
        """Judge what needs no approval; return what does."""
        from getty_images.tasks import lookup

        return lookup.judge(context)

    def result(self, context: Mapping[str, Any]) -> dict[str, int]:
        """Return how many held assets must be removed."""
        from getty_images.tasks import lookup

        return lookup.count_removals(context)

    def answered(self, context: Mapping[str, Any], *, is_approved: bool, name: str) -> dict[str, int]:
        """Let the verdicts that were shown count, or never."""
        from getty_images.tasks import lookup

        return lookup.decide(context, is_approved=is_approved, name=name)

    def expired(self, context: Mapping[str, Any]) -> None:
        """Let the verdicts that were shown never count."""
        from getty_images.tasks import lookup

        lookup.expire(context)
