"""A whole reconciliation over HTTP, with a limit and faults: exactly what vanished is named.

`HELD=200000 VANISHED=500 pytest tests/core/test_reconcile_http.py` is the size of a real company's first one.
"""

import os
import random
from collections.abc import Callable

from asset_changes.clock import system_clock
from asset_changes.getty_api.lookup import LookupClient
from asset_changes.lookup.context import LookupContext
from asset_changes.lookup.enqueue import Scope, enqueue
from asset_changes.lookup.judge import judge
from asset_changes.lookup.look_up import look_up
from asset_changes.removal.holdings import HoldingsList
from asset_changes.removal.import_list import import_list
from getty_sandbox import Sandbox
from sqlalchemy import Engine
from upath import UPath

from tests.conftest import credentials_for
from tests.core.doubles import execute, rows

HELD, VANISHED = int(os.environ.get("HELD", "3000")), int(os.environ.get("VANISHED", "30"))
SCOPE = Scope(connections={"getty": frozenset((3001,))})


def ask(warehouse: Engine, sandbox: Sandbox) -> None:
    """Do what a run of the DAG does, as often as it takes to ask everything."""
    enqueue(warehouse, SCOPE)

    def client(conn_id: str, /, *, before_call: Callable[[], None], on_throttled: Callable[[], None]) -> LookupClient:
        return LookupClient(credentials_for(sandbox), name=conn_id, before_call=before_call, on_throttled=on_throttled)

    context = LookupContext(
        warehouse=warehouse, client=client, connections=SCOPE.connections, holder="run", calls_per_second=50,
        calls_per_day=1_000_000,
    )  # fmt: skip
    look_up(context, minutes=50)
    assert judge(warehouse, clock=system_clock).waiting == ()


def test_exactly_what_vanished_must_be_removed(warehouse: Engine, tmp_path: object) -> None:
    ids = [str(60_000_000 + 7 * number) for number in range(HELD)]
    lost = random.Random(5).sample(ids, VANISHED)
    unlicensed = set(lost[: VANISHED // 3])
    file = UPath(f"{tmp_path}/held.csv")
    file.write_text("".join(f"GettyImages-{each}.jpg\n" for each in ids))
    import_list(warehouse, lambda: HoldingsList(file), source="dam", now=system_clock())
    with Sandbox(changes_per_channel=0, fault_rate=0.1, lookups_per_second=50, slow_body_seconds=0) as sandbox:
        for start in range(0, HELD, 10_000):
            sandbox.add(ids[start : start + 10_000])
        sandbox.unlicense(sorted(unlicensed))
        sandbox.vanish(sorted(set(lost) - unlicensed))
        ask(warehouse, sandbox)
        assert rows(warehouse, "SELECT * FROM assets_to_remove") == []
        execute(
            warehouse,
            "UPDATE availability SET as_of = as_of - interval '25 hours',"
            " first_gone_as_of = first_gone_as_of - interval '25 hours'",
        )
        execute(warehouse, "DELETE FROM consumers WHERE name = 'reconciliation'")
        ask(warehouse, sandbox)
        truth = sandbox.verdicts(lost)
    found = {row["asset_id"]: row["reason"] for row in rows(warehouse, "SELECT * FROM assets_to_remove")}
    assert found == truth
    assert set(found) == set(lost)
    assert {each for each, reason in found.items() if reason == "not_licensed"} == unlicensed
