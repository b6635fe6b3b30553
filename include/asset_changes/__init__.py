"""Keep a copy of the Getty Images catalogue right, from the Asset Changes API alone.

This package knows nothing of Airflow: it takes a client, an archive and a warehouse and gives
the steps `fetch`, `transform`, `load`, `confirm` and `catch_up` (see `steps.py`).
"""
