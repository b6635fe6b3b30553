"""What the tasks of the DAGs call."""
