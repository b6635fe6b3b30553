"""What the terminal shows: steps, one bar per channel, and the summary."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from local_stack.progress import Channel, Lookups

LOG_WIDTH = 140  # columns; a log file has no width of its own, and 80 would cut the table
PLAIN_SECONDS = 5.0  # between two lines where no terminal redraws them


class Screen:
    """The terminal, or a plain log where there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console.width = LOG_WIDTH
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        self._printed_at = 0.0

    def say(self, sentence: str) -> None:
        """One line."""
        self._console.print(sentence, markup=False)

    def say_all(self, sentences: Iterable[str]) -> None:
        """A line for each."""
        for sentence in sentences:
            self.say(sentence)

    def show(self, channels: Sequence[Channel], since: datetime) -> None:
        """How far the channels are, redrawn in place or as a line every few seconds."""
        if self._console.is_terminal:
            self._draw(channels, since)
        elif channels and time.monotonic() - self._printed_at > PLAIN_SECONDS:
            self._printed_at = time.monotonic()
            self.say(" | ".join(f"{channel.name}: {_progress_text(channel, since)}" for channel in channels))

    def show_lookups(self, lookups: Lookups, *, is_last: bool = False) -> None:
        """How many assets were looked up, as a line every few seconds."""
        if is_last or time.monotonic() - self._printed_at > PLAIN_SECONDS:
            self._printed_at = time.monotonic()
            waiting = f", {lookups.waiting:,} wait" if lookups.waiting else ""
            self.say(f"Looked up: {lookups.with_metadata:,} of {lookups.live:,} live assets{waiting}")

    def end_bars(self) -> None:
        """Leave the bars as they are."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()

    def summary(self, channels: Sequence[Channel], live: dict[int, int], findings: Sequence[str] = ()) -> None:
        """The table at the end, and what the warehouse has found: open alerts, foreign confirmations."""
        columns = ("sets", "changes", "new", "updates", "deletes", "superseded", "rejected")
        table = Table("channel", title="In the warehouse")
        for name in (*columns, "live assets", "changes/s"):
            table.add_column(name, justify="right")
        for channel in channels:
            counts = [f"{getattr(channel, name):,}" for name in columns]
            table.add_row(channel.name, *counts, f"{live.get(channel.channel_id, 0):,}", f"{channel.rate:,.0f}")
        self._console.print(table)
        if findings:
            self.say("Findings in the warehouse; docs/operations.md explains each under its name:")
            self.say_all(f"  {finding}" for finding in findings)

    def _draw(self, channels: Sequence[Channel], since: datetime) -> None:
        if self._bars is None:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[progress]}"),
                console=self._console,
            )
            self._bars.start()
        for channel in channels:
            if channel.channel_id not in self._tasks:
                self._tasks[channel.channel_id] = self._bars.add_task(channel.name, total=None, progress="")
            # No known total: the bar pulses until the channel is caught up, then it is full.
            total = channel.expected
            if total is None and channel.is_caught_up(since):
                total = max(channel.changes, 1)
            self._bars.update(
                self._tasks[channel.channel_id],
                completed=channel.changes if total != 0 else 1,
                total=max(total, 1) if total is not None else None,
                progress=_progress_text(channel, since),
            )


def _progress_text(channel: Channel, since: datetime) -> str:
    """`12,345 of 20,000 changes, 1,800/s`, or how old the newest change is where no total is known."""
    of_total = f" of {channel.expected:,}" if channel.expected is not None else ""
    text = f"{channel.changes:,}{of_total} changes"
    if channel.rate:
        text += f", {channel.rate:,.0f}/s"
    if channel.is_caught_up(since):
        return f"{text}, caught up"
    if channel.expected is None and channel.newest_change_at is not None:
        text += f", lag {_span((datetime.now(UTC) - channel.newest_change_at).total_seconds())}"
    return text


def _span(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
