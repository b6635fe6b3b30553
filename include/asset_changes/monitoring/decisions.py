"""What only a person or the nightly replay can say, and the watchdog goes by: retirements, dismissals, the replay."""

import re

from sqlalchemy import Connection, func, text, update

from asset_changes.errors import ConfigurationError
from asset_changes.warehouse import findings
from asset_changes.warehouse.schema import channels

_REJECTED = re.compile(r"(?P<channel_id>\d{1,9})/(?P<change_set_id>[A-Za-z0-9_-]{1,64})(?:/(?P<position>\d{1,9}))?")
_GAP = re.compile(r"gap (?P<channel_id>\d{1,9})")
_DISMISS_REJECTED = text("""
UPDATE rejected_changes SET dismissed_at = now(), dismissed_by = :by
WHERE channel_id = :channel_id AND change_set_id = :change_set_id
  AND position = coalesce(CAST(:position AS integer), position) AND dismissed_at IS NULL
""")
_RECONCILE = text("""
UPDATE feed_gaps SET reconciled_at = now() WHERE channel_id = :channel_id AND reconciled_at IS NULL
""")


def dismiss(connection: Connection, what: str, *, by: str) -> str:
    """Close a finding by hand and return what was done, or raise ConfigurationError where there is nothing to close.

    `what` is the address of an object in the archive, a rejected change as `channel/change set/position`, all rejected
    changes of a set as `channel/change set`, or `gap channel`.
    """
    what = what.strip()
    if gap := _GAP.fullmatch(what):
        count = connection.execute(_RECONCILE, gap.groupdict()).rowcount
        done = f"{count} spans in which channel {gap['channel_id']} was not read are reconciled"
    elif rejected := _REJECTED.fullmatch(what):
        count = connection.execute(_DISMISS_REJECTED, {**rejected.groupdict(), "by": by}).rowcount
        done = f"{count} rejected changes of {what} are dismissed"
    else:
        count = int(findings.dismiss(connection, what, by=by))
        done = f"The findings about {what} are dismissed"
    if not count:
        raise ConfigurationError(
            f"There is nothing to dismiss at {what!r:.200}: nothing was changed. Give an archive address as an alert "
            "names it, a rejected change as channel/change set/position, or `gap` and a channel's id."
        )
    return f"{done}, by {by}."


def note_retirement(connection: Connection, channel_id: int) -> bool:
    """Keep that a person knows that Getty no longer lists a channel; False where there is no such channel.

    One that discovery could not retire, because the Variable had lost it, is retired by this.
    """
    known = (
        update(channels)
        .where(channels.c.channel_id == channel_id)
        .values(retired_at=func.coalesce(channels.c.retired_at, func.now()), retirement_known_at=func.now())
    )
    return connection.execute(known).rowcount == 1


def note_nightly_replay(
    connection: Connection, channel_id: int, *, changed: int, begins: bool = False, is_complete: bool = False
) -> None:
    """Add to what the last nightly replay of a channel changed: anything but 0 raises an alert.

    Each of its transactions does, for what it repairs is no more to be found should it be tried again. Only one that
    is complete counts as done: a replay that is red every night raises an alert too.
    """
    before = 0 if begins else func.coalesce(channels.c.replay_changed_count, 0)
    values = {"replay_changed_count": before + changed}
    if is_complete:
        values["replayed_at"] = func.now()
    connection.execute(update(channels).where(channels.c.channel_id == channel_id).values(values))
