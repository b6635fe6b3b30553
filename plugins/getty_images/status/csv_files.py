"""The downloads as CSV, line by line, safe to be opened in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from asset_changes.warehouse.compliance import Report
from asset_changes.warehouse.purge_report import FileReport

DELETE_COLUMNS = (
    "channel_id", "change_set_id", "position", "asset_id", "was_held", "deleted_at", "received_at", "removed_at",
    "seconds_to_removal", "is_rebuilt", "is_time_inferred", "applied_at", "record", "count", "says", "settled_by",
    "was_in_holdings",
)  # fmt: skip
REMOVAL_COLUMNS = (
    "source", "asset_id", "asset_type", "location", "reason", "due_since", "held_since", "held_until", "channel_id",
    "change_set_id", "position", "reconciliation_id", "as_of",
)  # fmt: skip
PLAN_COLUMNS = (
    "store", "asset_id", "reason", "due_since", "channel_id", "change_set_id", "position", "reconciliation_id", "key",
    "version_id", "is_delete_marker", "size", "modified_at",
)  # fmt: skip
FILE_COLUMNS = (
    "store", "asset_id", "channel_id", "change_set_id", "position", "deleted_at", "received_at", "applied_at",
    "planned_at", "gone_at", "removed_count", "failed_count", "plan_id", "approved_by", "held_back_by", "waived_at",
    "waived_by", "is_live_again",
)  # fmt: skip
STORY_COLUMNS = (
    "asset_id", "what", "at", "store", "key", "version_id", "result", "error", "request_id", "is_gone", "said_by",
    "plan_id", "approved_by", "run_id", "triggered_by", "receipt_id",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula: ids and locations come from outside."""
_LINES_AT_ONCE = 1000


def removal_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give what must be removed, one line per asset and source."""
    return _lines(REMOVAL_COLUMNS, rows)


def plan_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give the files of a plan, one line per version; a line without a key is an asset of which nothing was found."""
    return _lines(PLAN_COLUMNS, rows)


def file_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give every Delete in each store that it concerns, from when it was received to when its files were gone."""
    return _lines(FILE_COLUMNS, rows)


def story_lines(rows: Iterable[dict[str, Any]], *, asset_id: str) -> Iterator[str]:
    """Give what happened to an asset, one line per step."""
    stages = ({name: row[name] for name in STORY_COLUMNS[1:]} | {"asset_id": asset_id} for row in rows)
    return _lines(STORY_COLUMNS, stages)


def report_lines(report: Report, files: FileReport, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give a compliance report; `record` says what a line is: verdict, reservation, gap, holdings, files or delete."""
    return _lines(DELETE_COLUMNS, _report_rows(report, files, rows))


def _report_rows(report: Report, files: FileReport, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    verdict = "clean" if report.is_clean else "not clean"
    yield {"record": "verdict", "count": len(report.reservations), "says": verdict}
    for each in report.reservations:
        count = "unknown" if each.count is None else each.count
        yield {"record": "reservation", "count": count, "says": each.says, "settled_by": each.resolved_by}
    for gap in report.unread:
        if gap["is_possible_loss"]:
            yield {"record": "gap", "channel_id": gap["channel_id"], **_gap(gap)}
    if not report.holdings:
        yield {"record": "holdings", "count": 0, "says": "not asked: no list of holdings is imported"}
    for holding in report.holdings:
        counted = f"counted at {_cell(holding.counted_at)}"
        for due in holding.due:
            since = f", the oldest since {_cell(due.since)}" if due.since else ""
            said = f"to be removed from {holding.source}: {due.reason}{since}; {counted}"
            yield {"record": "holdings", "count": due.count, "says": said}
    yield from _files(files)
    for row in rows:
        yield row | {"record": "delete"}


def _files(files: FileReport) -> Iterator[dict[str, Any]]:
    """Give what is said of each store, and of the sources that are none."""
    for each in files.stores:
        counts = (
            ("assets gone, once per plan", each.gone_count),
            ("files deleted", each.deleted_count),
            ("nothing found", each.nothing_found_count),
            ("files not deleted, once per try", each.failed_count),
        )
        for what, count in counts:
            yield {"record": "files", "count": count, "says": f"{each.store}: {what}"}
        now = each.count
        at = f", counted at {_cell(now.counted_at)}" if now else ""
        yield {"record": "files", "count": now.open_count if now else "unknown", "says": f"{each.store}: must go{at}"}
        for owner, count in sorted(now.held_back_by.items()) if now else ():
            yield {"record": "files", "count": count, "says": f"{each.store}: held back by {owner}{at}"}
    for source, count in files.not_covered.items():
        yield {"record": "files", "count": count, "says": f"{source}: held, and not a store of files"}


def _gap(gap: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a gap of more than 14 days, and what ends it or has ended it."""
    end, reconciled_at = _cell(gap["unread_to"]), gap["reconciled_at"]
    ended = f"reconciled at {_cell(reconciled_at)}" if reconciled_at else f"Look up assets with not_asked_since {end}"
    return {"says": f"not read from {_cell(gap['unread_from'])} to {end}", "settled_by": ended}


def _lines(columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give the lines as text, many at once."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        writer.writerow({name: _cell(value) for name, value in row.items()})
        if number % _LINES_AT_ONCE == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
