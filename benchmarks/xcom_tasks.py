"""The DAG that a channel's run is measured against: as many tasks, each of which pushes one XCom and does nothing."""

from datetime import UTC, datetime

from airflow.sdk import chain, dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def asset_changes_xcom_tasks() -> None:
    """Return a reference to a change set, five times."""

    @task
    def push() -> str:
        return '{"channel_id": 3001, "change_set_id": "3001000001", "changes": 2200}'

    chain(*(push.override(task_id=f"push_{number}")() for number in range(1, 6)))


asset_changes_xcom_tasks()
