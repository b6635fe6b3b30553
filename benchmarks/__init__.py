"""Measure the budgets: `python -m benchmarks`, or `make bench`."""
