"""Why tasks fail: the sentences of their errors, each reported once."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from asset_changes.errors import AssetChangesError, TransientError, error_named

from local_stack.airflow_api import AirflowApi, Try


class Failures:
    """The failed tries of a stack's tasks since its start."""

    def __init__(self, airflow: AirflowApi, *, logs: Path, since: datetime) -> None:
        self._airflow = airflow
        self._logs = logs
        self._since = since
        self._reported: set[object] = set()
        self._ignored: set[str] = set()

    def ignore(self, run_id: str) -> None:
        """Report nothing of a run that this program ended."""
        self._ignored.add(run_id)

    def new_failures(self, *, finals: bool = True) -> list[str]:
        """The failures since the last call, oldest first; a sentence that a task repeats in each run is reported once.

        `finals` are the tries after which none follows.
        """
        found = []
        for failed in reversed(self._tries()):
            if failed in self._reported or (failed.is_last and not finals):
                continue
            sentence = str(_error(self._logs, failed))
            message = (failed.dag_id, failed.task_id, failed.number, sentence)
            if message not in self._reported:
                again = "" if failed.is_last else " Airflow tries it again."
                found.append(f"{_where(failed)}, try {failed.number} of {failed.of}: {sentence}{again}")
            self._reported |= {failed, message}
        return found

    def reason(self, run_id: str | None = None) -> str:
        """Why the newest task failed, of all or of one run, what to do about it, and where its log is."""
        tries = [failed for failed in self._tries() if run_id in (None, failed.run_id)]
        if not tries:
            return f"No task has failed; see the logs in {self._logs}."
        error = _error(self._logs, tries[0])
        lines = [f"{_where(tries[0])}: {error}", f"Its log: {_log(self._logs, tries[0])}"]
        if isinstance(error, TransientError):  # other errors of ours name the change to make
            more = f"docs/operations.md says more under {type(error).__name__}"
            lines.insert(1, f"It may pass by itself: start again. If it lasts, {more}.")
        return "\n".join(lines)

    def _tries(self) -> list[Try]:
        return [failed for failed in self._airflow.failed_tries(self._since) if failed.run_id not in self._ignored]


def _error(logs: Path, failed: Try) -> Exception:
    """The error in the log of a failed try: ours, else another one, else its last error line."""
    log = _log(logs, failed)
    error = None
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("error_detail"):
            error = _outermost(entry["error_detail"])
        elif entry.get("level") in ("error", "critical"):
            error = error or Exception(entry.get("event", ""))
    return error or Exception("no reason in its log.")


def _outermost(errors: Sequence[dict[str, Any]]) -> Exception:
    """Our own error, which says what happened; its causes come after it."""
    for error in errors:
        kind = error_named(error.get("exc_type"))
        if kind is not AssetChangesError:
            return kind(error.get("exc_value", ""))
    return Exception(" ".join(str(errors[-1].get("exc_value", "")).split()))


def _where(failed: Try) -> str:
    return f"{failed.dag_id}, task {failed.task_id}"


def _log(logs: Path, failed: Try) -> Path:
    run = logs / f"dag_id={failed.dag_id}" / f"run_id={failed.run_id}"
    return run / f"task_id={failed.task_id}" / f"attempt={failed.number}.log"
