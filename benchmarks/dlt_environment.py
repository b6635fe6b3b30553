"""dlt in an environment of its own, made once below `.local`."""

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.measuring import PROJECT

_HOME = PROJECT / ".local" / "bench-venv"
_REQUIREMENTS = Path(__file__).with_name("requirements-dlt.txt")


def python_with_dlt() -> str | None:
    """Return the interpreter that has dlt, or None where it cannot be installed."""
    python, stamp = str(_HOME / "bin" / "python"), _HOME / "installed"
    if not stamp.exists() or stamp.read_text() != _REQUIREMENTS.read_text():
        print(f"Installing dlt into {_HOME.relative_to(PROJECT)}, once ...", file=sys.stderr)
        try:
            venv.create(_HOME, with_pip=True, clear=True)
            command = [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
                str(_REQUIREMENTS),
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"dlt cannot be installed ({type(error).__name__}): it is not measured.", file=sys.stderr)
            return None
        stamp.write_text(_REQUIREMENTS.read_text())
    return python
