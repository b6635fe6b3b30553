"""The provider is tested inside the Airflow of the DAG tests."""

from tests.dags.conftest import airflow

__all__ = ["airflow"]
