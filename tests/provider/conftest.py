"""The provider is tested inside the Airflow of the DAG tests, its form in the API server of the page's tests."""

from tests.dags.conftest import airflow
from tests.status.conftest import server

__all__ = ["airflow", "server"]
