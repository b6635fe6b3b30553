"""One Airflow for the session, as good as new for each test."""

import pytest

from tests.dags.installation import Installation, install, renew


@pytest.fixture
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Airflow, with the DAGs of this checkout and nothing else."""
    return renew(install(tmp_path_factory.getbasetemp() / "airflow"))
