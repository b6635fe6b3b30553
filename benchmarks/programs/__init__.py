"""The programs that are measured, each in a process of its own.

Each module is started as `python -m benchmarks.programs.<name> <settings as JSON>`; then each line on
its standard input is a number of sets to do; see `rounds.py`.
"""
