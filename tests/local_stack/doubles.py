"""Small doubles of what a stack is made of."""

import io

from local_stack.screen import Screen
from rich.console import Console


class Paper(Screen):
    """A screen that keeps what it shows."""

    def __init__(self) -> None:
        self._output = io.StringIO()
        super().__init__(Console(file=self._output, highlight=False, soft_wrap=True))

    @property
    def lines(self) -> list[str]:
        return self._output.getvalue().splitlines()
