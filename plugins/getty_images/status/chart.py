"""Changes per hour as an SVG picture, without a library: one path per lifecycle, stacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from asset_changes.warehouse.status import HourCounts

HOUR = timedelta(hours=1)
WIDTH, HEIGHT = 600, 96
LIFECYCLES = ("new", "update", "delete")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One hour with changes, as an area that a pointer can rest on."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the scale: how many changes it means, and where it is."""

    value: int
    y: float


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What the template draws: `paths` by lifecycle over the lines of a scale; `most` is the busiest hour's count."""

    paths: dict[str, str]
    columns: tuple[Column, ...]
    scale: tuple[Line, ...]
    most: int
    totals: dict[str, int]
    first: datetime
    last: datetime


def draw(hours: Sequence[HourCounts], *, count: int, now: datetime) -> Picture:
    """Draw the last `count` hours, the present one included; hours without changes stay empty."""
    last = now.replace(minute=0, second=0, microsecond=0)
    first = last - HOUR * (count - 1)
    shown = [hour for hour in hours if first <= hour.hour <= last]
    most = max((hour.new + hour.update + hour.delete for hour in shown), default=0)
    scale = _scale(most)
    step, top = WIDTH / count, scale[-1].value
    paths: dict[str, list[str]] = {name: [] for name in LIFECYCLES}
    columns = []
    for hour in shown:
        x, floor = (hour.hour - first) / HOUR * step, float(HEIGHT)
        for name in LIFECYCLES:
            height = getattr(hour, name) / top * HEIGHT
            if height:
                floor -= height
                paths[name].append(f"M{x:.1f} {floor:.1f}h{step * 0.86:.1f}v{height:.1f}h-{step * 0.86:.1f}z")
        columns.append(Column(x=round(x, 1), width=round(step, 1), title=_title(hour)))
    return Picture(
        paths={name: "".join(parts) for name, parts in paths.items()},
        columns=tuple(columns),
        scale=scale,
        most=most,
        totals={name: sum(getattr(hour, name) for hour in shown) for name in LIFECYCLES},
        first=first,
        last=last + HOUR,
    )


def _scale(most: int) -> tuple[Line, ...]:
    """Return lines at round numbers, from nothing to the first that is not below the most."""
    most = max(most, 1)
    unit = 10 ** max(0, len(str(most)) - 2)
    step = next(unit * size for size in (1, 2, 5, 10, 20, 50) if unit * size * 4 >= most)
    top = -(-most // step) * step
    return tuple(Line(value=value, y=HEIGHT * (1 - value / top)) for value in range(0, top + 1, step))


def _title(hour: HourCounts) -> str:
    rest = [f"{getattr(hour, name):,} {name}" for name in ("superseded", "rejected") if getattr(hour, name)]
    text = ", ".join([f"{hour.new:,} New", f"{hour.update:,} Update", f"{hour.delete:,} Delete", *rest])
    return f"{hour.hour:%d %b %H:%M} UTC: {text}"
