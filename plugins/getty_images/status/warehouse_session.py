"""Reading the warehouse for a page: read only, for seconds at most, and why it cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowNotFoundException
from asset_changes.errors import ConfigurationError, SchemaMismatch, TransientError, WarehouseRefused
from asset_changes.settings import Settings
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.migrate import check_version
from asset_changes.warehouse.session import IS_SNAPSHOT
from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, text

from getty_images.resources import WAREHOUSE_CONN_ID, warehouse_of

PAGE_SECONDS = 10
DOWNLOAD_SECONDS = 600


class PageUnavailable(Exception):
    """Why there is nothing to show, and what to do next; `link` is where in Airflow to do it."""

    def __init__(self, reason: str, *, next_step: str, link: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.next_step, self.link = reason, next_step, link


@contextmanager
def reading(*, seconds: int = PAGE_SECONDS) -> Iterator[tuple[Connection, Settings]]:
    """Give a read-only transaction on the warehouse, or raise PageUnavailable with the reason."""
    try:
        settings = Settings.from_environment()
        with (
            warehouse_of(settings) as engine,
            # A load may commit between two queries of a page: its numbers would not agree.
            transaction(engine.execution_options(**{IS_SNAPSHOT: True})) as connection,
        ):
            # The limits are for a slow statement, and for a reader of a download that neither reads nor leaves.
            connection.execute(
                text(
                    f"SET LOCAL statement_timeout = '{seconds}s';"
                    f" SET LOCAL idle_in_transaction_session_timeout = '{seconds}s'"
                )
            )
            check_version(connection)
            yield connection, settings
    except (AirflowNotFoundException, ConfigurationError, SchemaMismatch, TransientError, WarehouseRefused) as error:
        raise _unavailable(error, seconds) from error


def _unavailable(error: Exception, seconds: int) -> PageUnavailable:
    """Return why the warehouse cannot be read, with the next step."""
    reason = str(error)
    if isinstance(error, AirflowNotFoundException):
        return PageUnavailable(
            f"There is no connection {WAREHOUSE_CONN_ID}, so there is no warehouse to read.",
            next_step=(
                f"Create a Postgres connection of this name, or set AIRFLOW_CONN_{WAREHOUSE_CONN_ID.upper()} in the "
                "environment of every Airflow component; then switch on asset_changes_discovery."
            ),
            link="connections",
        )
    if isinstance(error, ConfigurationError):
        return PageUnavailable(reason, next_step="If it is in the environment, start Airflow's API server again.")
    if isinstance(error, SchemaMismatch):
        return PageUnavailable(
            reason,
            next_step="Trigger asset_changes_discovery: it makes or upgrades the tables and finds the channels.",
            link="dags/asset_changes_discovery",
        )
    if isinstance(getattr(error.__cause__, "orig", None), QueryCanceled):
        return PageUnavailable(
            f"The warehouse has not answered within {seconds} s.",
            next_step=(
                "Choose fewer days. If that does not help, check what keeps the database behind connection "
                f"{WAREHOUSE_CONN_ID} busy."
            ),
        )
    return PageUnavailable(
        reason,
        next_step=f"Check the database behind connection {WAREHOUSE_CONN_ID}, then load this page again.",
        link="connections",
    )
