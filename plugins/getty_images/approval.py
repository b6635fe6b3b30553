"""A task that asks a person where a limit is exceeded, and that ends at once where none is.

What is approved is kept in the warehouse by whoever subclasses it. Airflow's own record of the answer belongs to the
run: a second answer to it is refused (409), and a task behind it that is cleared alone would read the old one.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import DownstreamTasksSkipped
from asset_changes.models import APPROVAL_LASTS
from asset_changes.settings import Settings


class ApprovalTask(ApprovalOperator):
    """Asks `question` if it has one, and passes the answer to `answered`; ASSET_CHANGES_APPROVERS may answer."""

    def __init__(self, **options: Any) -> None:
        # Without these None and 0 our default arguments would end the wait after 15 minutes, or ask a second time.
        super().__init__(response_timeout=APPROVAL_LASTS, execution_timeout=None, retries=0, **options)

    @abstractmethod
    def question(self, context: Mapping[str, Any]) -> str | None:
        """Return what a person must decide, as Markdown, or None where nothing waits for a person."""

    @abstractmethod
    def answered(self, context: Mapping[str, Any], *, is_approved: bool, name: str) -> Any:
        """Act on the answer of the user of this name; return the task's result."""

    @abstractmethod
    def expired(self, context: Mapping[str, Any]) -> None:
        """Act on the end of the time in which nobody answered; the task fails afterwards."""

    def result(self, context: Mapping[str, Any]) -> Any:
        """Return the task's result where nothing had to be decided."""
        return None

    def execute(self, context: Any) -> Any:
        """Ask, or end at once."""
        self.body = self.question(context)
        if self.body is None:
            return self.result(context)
        approvers = Settings.from_environment().approvers
        self.assigned_users = [{"id": each, "name": each} for each in approvers] or None
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Act on the answer; whatever hangs on a rejected question is skipped."""
        if event.get("error_type") == "timeout":
            self.expired(context)
        name = (event.get("responded_by_user") or {}).get("name") or "unknown"
        try:
            answer = super().execute_complete(context, event)
        except DownstreamTasksSkipped:  # how the operator ends where tasks hang on a rejected question
            self.answered(context, is_approved=False, name=name)
            raise
        return self.answered(context, is_approved=answer["chosen_options"] == [self.APPROVE], name=name)
