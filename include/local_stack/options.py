"""What the person at the terminal asks for: the variables of `make run`."""

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError

YES = ("1", "true", "yes", "on")
NO = ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Options:
    """The variables of `make run`, read and checked."""

    state_dir: Path
    port: int = 8080
    until_caught_up: bool = False
    login: bool = False
    confirm: bool = False
    sandbox_options: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Options":
        """The options in `environ`; one that makes no sense is refused with a sentence."""
        return cls(
            state_dir=_state_dir(environ.get("STATE_DIR") or ".local"),
            port=_port(environ.get("PORT") or "8080"),
            until_caught_up=_switch(environ, "UNTIL_CAUGHT_UP"),
            login=_switch(environ, "LOGIN"),
            confirm=_switch(environ, "CONFIRM"),
            sandbox_options=_words(environ.get("SANDBOX_OPTIONS", "")),
        )


def _state_dir(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if any(character.isspace() or character in "?#" for character in str(path)):
        # The archive's address is a URI made from this path.
        raise StackError(f"STATE_DIR {path} contains a space, ? or #: choose another one.")
    return path


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise StackError(f"PORT is {text!r}: give a number from 1 to 65535.")
    return int(text)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise StackError(f"SANDBOX_OPTIONS is {text!r}: {error}.") from error


def _switch(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in YES + NO:
        raise StackError(f"{name} is {value!r}: give 1 for yes, or leave it out.")
    return value in YES


if __name__ == "__main__":  # before anything is installed: make asks whether it is worth it
    try:
        Options.read()
    except StackError as error:
        sys.exit(f"Stopped. {error}")
