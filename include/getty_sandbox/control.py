"""The sandbox's own pages under /_sandbox, for programs on the same machine: truth, progress, faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from getty_sandbox.options import SandboxError
from getty_sandbox.wire import JSON, Reply, to_json

if TYPE_CHECKING:
    from getty_sandbox.sandbox import Sandbox

ROOT = "/_sandbox/"


def answer(sandbox: Sandbox, *, method: str, path: str, body: bytes) -> Reply:
    """The page, or what was done; a mistake is answered with a sentence."""
    name = path.removeprefix(ROOT)
    try:
        if method == "GET" and name in _PAGES:
            return Reply(200, to_json(_PAGES[name](sandbox)))
        if method == "POST" and name in _ACTIONS:
            arguments = json.loads(body or b"{}")
            if not isinstance(arguments, dict):
                raise SandboxError("The body is a JSON object with arguments by name.")
            return Reply(200, to_json({"done": name, "result": _ACTIONS[name](sandbox)(**arguments)}))
    except (SandboxError, TypeError, json.JSONDecodeError) as error:
        return Reply(400, to_json({"message": str(error)}), JSON)
    known = ", ".join([*(f"GET {ROOT}{p}" for p in _PAGES), *(f"POST {ROOT}{d}" for d in _ACTIONS)])
    return Reply(404, to_json({"message": f"There is no such page; there are {known}."}), JSON)


_PAGES: dict[str, Callable[[Sandbox], Any]] = {
    "truth": lambda sandbox: sandbox.truth(),
    "progress": lambda sandbox: sandbox.progress(),
    "requests": lambda sandbox: [asdict(request) for request in sandbox.requests],
}
_ACTIONS: dict[str, Callable[[Sandbox], Callable[..., Any]]] = {
    "faults": lambda sandbox: sandbox.fail_next,
    "append": lambda sandbox: sandbox.append,
    "delete": lambda sandbox: sandbox.delete,
    "vanish": lambda sandbox: sandbox.vanish,
    "unlicense": lambda sandbox: sandbox.unlicense,
    "retype": lambda sandbox: sandbox.retype,
    "add": lambda sandbox: sandbox.add,
    "holdings": lambda sandbox: sandbox.example_holdings,
    "verdicts": lambda sandbox: sandbox.verdicts,
    "metadata": lambda sandbox: sandbox.override_metadata,
    "retire": lambda sandbox: sandbox.retire,
    "silence": lambda sandbox: sandbox.silence,
    "retention": lambda sandbox: sandbox.cut_retention,
    "revoke": lambda sandbox: sandbox.revoke_tokens,
}
