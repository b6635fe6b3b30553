"""The programs that are measured, each in a process of its own.

Each module is started as `python -m benchmarks.sides.<name> <settings as JSON>` and then told line
by line how many sets to do; see `rounds.py`.
"""
