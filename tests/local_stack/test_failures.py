"""The reason for an end, in the words of the task that failed."""

import json
from pathlib import Path

from local_stack.airflow_api import failure_sentence
from local_stack.sync import Patience

FAILURE = ("asset_changes_discovery", "manual__1", "discover", 1)


def write_log(folder: Path, *entries: object) -> None:
    log = folder / "dag_id=asset_changes_discovery/run_id=manual__1/task_id=discover/attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries) + "not json\n")


def test_the_sentence_is_the_errors_own(tmp_path: Path) -> None:
    error = {"exc_type": "CredentialsError", "exc_value": "Getty refused the key of getty_images_default: check it."}
    write_log(
        tmp_path,
        {"level": "info", "event": "Asking for the channels"},
        {"level": "error", "event": "Task failed with exception", "error_detail": [error]},
        {"level": "error", "event": "Something after it"},
    )
    sentence = failure_sentence(tmp_path, FAILURE)
    assert sentence.startswith(
        "asset_changes_discovery, task discover: Getty refused the key of getty_images_default: check it. (log: "
    )


def test_without_an_error_the_last_complaint_must_do(tmp_path: Path) -> None:
    write_log(tmp_path, {"level": "error", "event": "Process terminated by signal."})
    assert "Process terminated by signal." in failure_sentence(tmp_path, FAILURE)


def test_without_a_log_the_place_where_it_would_be_is_named(tmp_path: Path) -> None:
    assert "attempt=1.log" in failure_sentence(tmp_path, FAILURE)


def test_five_minutes_count_from_the_last_progress() -> None:
    now = 1000.0
    patience = Patience(clock=lambda: now)
    assert not patience.is_over(0)
    now += 299
    assert not patience.is_over(0)
    assert not patience.is_over(1)
    now += 299
    assert not patience.is_over(1)
    now += 2
    assert patience.is_over(1)
