"""The end of `make run UNTIL_CAUGHT_UP=1`: nothing new comes, and what runs may end."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from getty_sandbox import Sandbox
from local_stack.progress import Channel
from local_stack.progress import Sandbox as SandboxClient
from local_stack.sync import finish_runs

CHANNEL = Channel(3001, "Editorial", "Image", None, None)


def stack(sandbox: Sandbox, active: list[bool]) -> Any:
    """A stack whose channel has an active run as often as `active` says."""
    return SimpleNamespace(
        sandbox=SandboxClient(sandbox.url),
        services=SimpleNamespace(check=lambda: None),
        warehouse=SimpleNamespace(channels=lambda: [CHANNEL]),
        airflow=SimpleNamespace(active_runs=lambda dag_id: {"manual__1": None} if active.pop(0) else {}),
    )


def test_active_runs_end_while_the_sandbox_is_silent() -> None:
    now = [datetime.now(UTC)]
    with Sandbox(changes_per_channel=0, trickle_per_minute=60, clock=lambda: now[0]) as sandbox:
        active = [True, True, False, True]
        assert finish_runs(stack(sandbox, active)) == [CHANNEL]
        assert active == [True]
        made = sandbox.progress()
        now[0] += timedelta(minutes=1)  # 60 messages, were it not silent
        assert sandbox.progress() == made


def test_a_run_that_does_not_end_is_not_waited_for_forever(sandbox: Sandbox) -> None:
    assert finish_runs(stack(sandbox, [True] * 100), seconds=0.5) == [CHANNEL]
