"""Small doubles of what a stack is made of."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_stack.airflow_api import Try
from local_stack.screen import Screen
from rich.console import Console


class CapturedScreen(Screen):
    """A screen that keeps what it shows."""

    def __init__(self) -> None:
        self._output = io.StringIO()
        super().__init__(Console(file=self._output, highlight=False, soft_wrap=True))

    @property
    def lines(self) -> list[str]:
        return self._output.getvalue().splitlines()


@dataclass
class Airflow:
    """An Airflow that knows of some runs and failed tries; `states` are those that the run followed goes through."""

    active: dict[str, datetime | None] = field(default_factory=dict)
    tries: list[Try] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    due: list[bool] = field(default_factory=list)
    triggered: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    dags: set[str] = field(default_factory=set)
    forms: list[dict[str, Any]] = field(default_factory=list)
    unpaused: list[str] = field(default_factory=list)

    def active_runs(self, dag_id: str) -> dict[str, datetime | None]:
        return dict(self.active)

    def is_due(self, dag_id: str) -> bool:
        """As often as `due` says; then Airflow has made its run."""
        if not self.due:
            return False
        if not self.due.pop(0):
            self.active["scheduled__1"] = None
            return False
        return True

    def trigger(self, dag_id: str, form: Mapping[str, Any] | None = None) -> str:
        self.triggered.append(dag_id)
        self.forms.append(dict(form or {}))
        return "manual__1"

    def dag_ids(self) -> set[str]:
        return self.dags

    def unpause(self, dag_id: str) -> None:
        self.unpaused.append(dag_id)

    def end_run(self, dag_id: str, run_id: str) -> None:
        self.ended.append(run_id)
        self.active.pop(run_id)

    def run_state(self, dag_id: str, run_id: str) -> str:
        return self.states.pop(0)

    def failed_tries(self, since: datetime) -> list[Try]:
        return self.tries
