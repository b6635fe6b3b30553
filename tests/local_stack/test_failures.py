"""Why tasks fail, in the words of their errors: reported while it happens, and as the reason of an end."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from local_stack.airflow_api import Try
from local_stack.failures import Failures
from local_stack.sync import StallTimeout

from tests.local_stack.doubles import Airflow

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = Try("asset_changes_discovery", "manual__1", "discover", number=1, of=3, is_last=False)
LAST = replace(FIRST, number=3, is_last=True)
REFUSED = {"exc_type": "CredentialsRefused", "exc_value": "Getty refused the key of getty_images_default: check it."}


def write_log(folder: Path, failed: Try, *entries: object) -> Path:
    log = folder / f"dag_id={failed.dag_id}/run_id={failed.run_id}/task_id={failed.task_id}/attempt={failed.number}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries) + "not json\n")
    return log


def failed_with(*errors: dict[str, str]) -> dict[str, object]:
    return {"level": "error", "event": "Task failed with exception", "error_detail": list(errors)}


@pytest.fixture
def airflow() -> Airflow:
    return Airflow(tries=[FIRST])


@pytest.fixture
def failures(airflow: Airflow, tmp_path: Path) -> Failures:
    return Failures(airflow, logs=tmp_path, since=STARTED)  # type: ignore[arg-type]


def test_the_reason_is_the_sentence_of_our_own_error(failures: Failures, tmp_path: Path) -> None:
    cause = {"exc_type": "HTTPError", "exc_value": "401 Client Error"}
    log = write_log(
        tmp_path,
        FIRST,
        {"level": "info", "event": "Asking for the channels"},
        failed_with(REFUSED, cause),
        {"level": "error", "event": "Something after it"},
    )
    assert failures.reason() == (
        "asset_changes_discovery, task discover: Getty refused the key of getty_images_default: check it.\n"
        f"Its log: {log}"
    )


def test_a_transient_reason_says_what_to_do_if_it_lasts(failures: Failures, tmp_path: Path) -> None:
    write_log(tmp_path, FIRST, failed_with({"exc_type": "ApiUnavailable", "exc_value": "No answer."}))
    assert "No answer.\nIt may pass by itself: start again. If it lasts, docs/operations.md " in failures.reason()
    assert "says more under ApiUnavailable.\n" in failures.reason()


def test_without_our_error_the_last_error_in_the_log_counts(failures: Failures, tmp_path: Path) -> None:
    log = write_log(tmp_path, FIRST, failed_with({"exc_type": "KeyError", "exc_value": "'no\n such key'"}))
    assert "task discover: 'no such key'\n" in failures.reason()
    write_log(tmp_path, FIRST, {"level": "error", "event": "Process terminated by signal."})
    assert "task discover: Process terminated by signal.\n" in failures.reason()
    log.unlink()
    assert failures.reason().endswith(f"no reason in its log.\nIts log: {log}")


def test_where_no_task_failed_the_logs_are_named(failures: Failures, airflow: Airflow, tmp_path: Path) -> None:
    airflow.tries = []
    assert failures.reason() == f"No task has failed; see the logs in {tmp_path}."
    airflow.tries = [FIRST]
    assert failures.reason("another run") == f"No task has failed; see the logs in {tmp_path}."


def test_each_failed_try_is_news_once(failures: Failures, airflow: Airflow, tmp_path: Path) -> None:
    for failed in (FIRST, LAST):
        write_log(tmp_path, failed, failed_with(REFUSED))
    sentence = REFUSED["exc_value"]
    assert failures.new_failures() == [
        f"asset_changes_discovery, task discover, try 1 of 3: {sentence} Airflow tries it again."
    ]
    assert failures.new_failures() == []
    airflow.tries = [LAST, FIRST]
    assert failures.new_failures(finals=False) == []
    assert failures.new_failures() == [f"asset_changes_discovery, task discover, try 3 of 3: {sentence}"]


def test_a_sentence_that_a_task_repeats_is_reported_once(failures: Failures, airflow: Airflow, tmp_path: Path) -> None:
    again = replace(FIRST, run_id="manual__2")
    other = replace(FIRST, run_id="manual__3")
    write_log(tmp_path, FIRST, failed_with(REFUSED))
    write_log(tmp_path, again, failed_with(REFUSED))
    write_log(tmp_path, other, failed_with({"exc_type": "RateLimited", "exc_value": "Too many calls."}))
    airflow.tries = [again, FIRST]
    assert len(failures.new_failures()) == 1
    airflow.tries = [other, again, FIRST]
    assert ["Too many calls." in line for line in failures.new_failures()] == [True]


def test_a_run_that_this_program_ended_is_not_reported(failures: Failures) -> None:
    failures.ignore(FIRST.run_id)
    assert failures.new_failures() == []
    assert failures.reason().startswith("No task has failed")


def test_five_minutes_count_from_the_last_progress() -> None:
    now = 1000.0
    stall_timeout = StallTimeout(clock=lambda: now)
    assert not stall_timeout.is_over(0)
    now += 299
    assert not stall_timeout.is_over(0)
    assert not stall_timeout.is_over(1)
    now += 299
    assert not stall_timeout.is_over(1)
    now += 2
    assert stall_timeout.is_over(1)
