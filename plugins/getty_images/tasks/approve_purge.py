"""The task `approve` of the purge DAG. Imported while the DAG is parsed: what it does is imported when it runs."""

from collections.abc import Mapping
from typing import Any

from getty_images.approval import ApprovalTask

SUBJECT = "These files would be deleted for good: is that right?"


class ApprovePurgeTask(ApprovalTask):
    """Asks a person where a plan exceeds a limit, or is the first."""

    def question(self, context: Mapping[str, Any]) -> str | None:
        """Return what the plan would delete, if it needs approval."""
        from getty_images.tasks import purge

        return purge.question(context)

    def answered(self, context: Mapping[str, Any], *, is_approved: bool, name: str) -> None:
        """Keep the answer to the list that was shown."""
        from getty_images.tasks import purge

        purge.decide(context, is_approved=is_approved, name=name)

    def expired(self, context: Mapping[str, Any]) -> None:
        """End the plan: nobody answered."""
        from getty_images.tasks import purge

        purge.expire(context)
