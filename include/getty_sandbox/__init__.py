"""A local Getty: the Asset Changes API on loopback, a deterministic feed, and the truth about it."""

from getty_sandbox.options import Channel, Options, SandboxError
from getty_sandbox.sandbox import Sandbox

__all__ = ["Channel", "Options", "Sandbox", "SandboxError"]
