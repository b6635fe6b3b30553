"""What the status page shows of the holdings: the lists, what must be removed, and how far Getty was asked."""

from dataclasses import dataclass

from asset_changes.warehouse.holdings import SourceStatus, source_statuses
from asset_changes.warehouse.reconciliations import Round, latest_rounds
from asset_changes.warehouse.removals import HoldingCount, holding_counts
from sqlalchemy import Connection


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The panel *Holdings*."""

    sources: tuple[SourceStatus, ...] = ()
    counts: tuple[HoldingCount, ...] = ()
    reconciliations: tuple[Round, ...] = ()

    @property
    def waiting(self) -> tuple[Round, ...]:
        """The reconciliations that wait for an approval."""
        return tuple(each for each in self.reconciliations if each.outcome == "waiting")

    @property
    def uncounted(self) -> tuple[str, ...]:
        """The sources that were not counted since their first list came."""
        counted = {each.source for each in self.counts}
        return tuple(each.source for each in self.sources if each.imported_at and each.source not in counted)


def holdings_panel(connection: Connection) -> Panel:
    """Return what the panel shows."""
    return Panel(
        sources=source_statuses(connection),
        counts=holding_counts(connection),
        reconciliations=latest_rounds(connection),
    )
