"""What `make run` starts: an embedded PostgreSQL, the sandbox, and Airflow, on this machine alone."""
