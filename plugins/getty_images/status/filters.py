"""Times, spans and reasons as people say them."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from markupsafe import Markup, escape

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

REASONS = {
    "not_an_object": "not a JSON object",
    "unusable_id": "no usable asset id",
    "unknown_lifecycle": "unknown lifecycle",
    "no_time": "an upsert without a usable time",
}

REMOVAL_REASONS = {
    "deleted": "deleted by Getty",
    "not_in_catalogue": "not in the catalogue any more",
    "not_licensed": "not licensed to this account",
}
OUTCOMES = {
    "counted": "its verdicts count",
    "approved": "approved, its verdicts count",
    "waiting": "waits for an approval",
    "refused": "refused, its verdicts do not count",
    "expired": "nobody answered in time, its verdicts do not count",
    "void": "given up, its verdicts do not count",
}
PLAN_OUTCOMES = {
    "listed": "listed only, nothing is deleted",
    "ready": "being carried out",
    "waiting": "waits for an approval",
    "approved": "approved, being carried out",
    "refused": "refused, nothing was deleted",
    "expired": "expired, no more of it is deleted",
    "purged": "carried out",
}
RESULTS = {
    "deleted": "deleted",
    "missing": "it was gone already",
    "changed": "another file has its place, and was left",
    "error": "not deleted",
    "nothing_found": "nothing was found",
}


def span(value: timedelta | None) -> str:
    """Return a span in its two largest units: `2 d 3 h`, `4 min 5 s`, `0.2 s`."""
    if value is None:
        return "–"
    seconds = value.total_seconds()
    if 0 < abs(seconds) < 0.05:
        return "< 0.1 s"
    if abs(seconds) < 10:
        return f"{seconds:.1f} s" if seconds else "0 s"
    rest, parts = int(abs(seconds)), []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return ("-" if seconds < 0 else "") + " ".join(parts[:2])


def time(value: datetime | None) -> str:
    """Return a time in UTC to the second."""
    return "–" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def iso(value: datetime) -> str:
    """Return a time as a form of Airflow takes it, with its whole second over."""
    return f"{(value + timedelta(seconds=1)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def days(value: timedelta | None) -> str:
    """Return the time left in days, rounded; in hours when it is short, and 0 when it is over."""
    if value is None:
        return "–"
    if value < timedelta(days=2):
        return span(timedelta(hours=max(value, timedelta(0)) // timedelta(hours=1)))
    return f"{round(value / timedelta(days=1))} d"


def short_time(value: datetime) -> str:
    """Return a time in UTC for a narrow column."""
    return f"{value.astimezone(UTC):%d %b %H:%M:%S}"


def reason(code: str) -> str:
    """Return a reason of a rejected change in words; one that is not known here stays as it is."""
    return REASONS.get(code, code.replace("_", " "))


def marked(sentence: str) -> Markup:
    """Return a sentence as HTML, with what is between backticks as code, and dates that no line's end divides."""
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence)))
    return Markup(re.sub(r"\b\d{4}-\d\d-\d\d\b", r'<span class="time">\g<0></span>', code))  # noqa: S704 - escaped


def path_part(value: str) -> str:
    """Return text as one part of a URL's path, slashes included."""
    return quote(value, safe="")


def removal_reason(code: str) -> str:
    """Return in words why something must be removed."""
    return REMOVAL_REASONS[code]


def outcome(code: str | None) -> str:
    """Return in words what came of a reconciliation."""
    return "Getty is being asked" if code is None else OUTCOMES[code]


def plan_outcome(code: str | None) -> str:
    """Return in words what came of a plan."""
    return "not listed to its end" if code is None else PLAN_OUTCOMES[code]


def result(code: str) -> str:
    """Return in words what a receipt says."""
    return RESULTS[code]


def size(value: int | None) -> str:
    """Return a number of bytes in its largest unit."""
    if value is None:
        return "–"
    number, units = float(value), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while number >= 999.5 and unit != "TB":
        number, unit = number / 1000, next(units)
    return f"{value:,} bytes" if unit == "bytes" else f"{number:.3g} {unit}"
