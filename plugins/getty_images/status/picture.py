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
class Picture:
    """What the template draws: `paths` by lifecycle, `top` is the value of the upper edge."""

    paths: dict[str, str]
    columns: tuple[Column, ...]
    top: int
    totals: dict[str, int]
    first: datetime
    last: datetime


def draw(hours: Sequence[HourCounts], *, count: int, now: datetime) -> Picture:
    """Draw the last `count` hours, the present one included; hours without changes stay empty."""
    last = now.replace(minute=0, second=0, microsecond=0)
    first = last - HOUR * (count - 1)
    shown = [hour for hour in hours if first <= hour.hour <= last]
    top = max((hour.new + hour.update + hour.delete for hour in shown), default=0)
    step = WIDTH / count
    paths: dict[str, list[str]] = {name: [] for name in LIFECYCLES}
    columns = []
    for hour in shown:
        x, floor = (hour.hour - first) / HOUR * step, float(HEIGHT)
        for name in LIFECYCLES:
            height = getattr(hour, name) / top * HEIGHT if top else 0.0
            if height:
                floor -= height
                paths[name].append(f"M{x:.1f} {floor:.1f}h{step * 0.86:.1f}v{height:.1f}h-{step * 0.86:.1f}z")
        columns.append(Column(x=round(x, 1), width=round(step, 1), title=_title(hour)))
    return Picture(
        paths={name: "".join(parts) for name, parts in paths.items()},
        columns=tuple(columns),
        top=top,
        totals={name: sum(getattr(hour, name) for hour in shown) for name in LIFECYCLES},
        first=first,
        last=last + HOUR,
    )


def _title(hour: HourCounts) -> str:
    rest = [f"{getattr(hour, name):,} {name}" for name in ("superseded", "rejected") if getattr(hour, name)]
    told = ", ".join([f"{hour.new:,} New", f"{hour.update:,} Update", f"{hour.delete:,} Delete", *rest])
    return f"{hour.hour:%d %b %H:%M} UTC: {told}"
