"""The status page and the compliance report, as a FastAPI app below Airflow's API server."""

PREFIX = "/asset-changes"
"""Where Airflow mounts the app."""
