"""The DAG that a channel's run is measured against: as many tasks, which do nothing."""

from datetime import UTC, datetime

from airflow.sdk import chain, dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def asset_changes_empty_tasks() -> None:
    """Return at once, five times."""

    @task
    def empty() -> None:
        return

    chain(*(empty.override(task_id=f"empty_{number}")() for number in range(1, 6)))


asset_changes_empty_tasks()
