"""`STATE_DIR/bin/kill-task`: wait for the stack's next task, and kill its process as a lack of memory would."""

import re
import sys
import time

import psutil

from local_stack.services import marked_processes

TIMEOUT_SECONDS = 120.0
_TITLE = re.compile(r"airflow worker -- [0-9a-f-]{36}")


def main(state_dir: str) -> int:
    """Kill one task of the stack in this folder; the exit status."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for process in marked_processes(state_dir):
            try:
                if _TITLE.match(" ".join(process.cmdline())):
                    process.kill()
                    print(f"Killed process {process.pid}, a task that was running.")
                    return 0
            except psutil.Error:
                continue  # it ended by itself
        time.sleep(0.1)
    print(f"No task was running in {TIMEOUT_SECONDS:.0f} seconds: trigger a DAG.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
