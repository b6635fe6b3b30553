"""What all DAGs of the project have in common. Imported while DAGs are parsed: keep it light."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Context, ExceptionRetryPolicy, RetryAction, RetryRule
from asset_changes.errors import AssetChangesError, TerminalError, TransientError

OWNER = "asset-changes"
TAG = "getty-images"
START_DATE = datetime(2026, 1, 1, tzinfo=UTC)  # fixed: a moving one would make a new DAG version at each parse

FAILURE = "failure"
"""The XCom of a failed task: its error's class and sentence, which the status page shows."""


def keep_failure(context: Context) -> None:
    """Keep class and sentence of one of our errors, which contain no secrets; others are in the log alone."""
    error = context.get("exception")
    if isinstance(error, AssetChangesError):
        context["ti"].xcom_push(FAILURE, {"error": type(error).__name__, "says": str(error)[:900]})


DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "execution_timeout": timedelta(minutes=15),
    "on_failure_callback": keep_failure,
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=TerminalError,
                action=RetryAction.FAIL,
                reason="A person must change something first; the error says what.",
            ),
            RetryRule(
                exception=TransientError,
                action=RetryAction.RETRY,
                reason="The same call may work later.",
            ),
        ]
    ),
}
