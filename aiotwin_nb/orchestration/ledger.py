"""The ledger: everything that was paid, in exact decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from aiotwin_nb.planning.costs import EXACT

Kind = Literal["round", "change", "revert"]


@dataclass(frozen=True)
class LedgerEntry:
    """One payment. `round`: the round paid for, or the last finished round when a change or revert was made."""

    round: int
    kind: Kind
    cost: Decimal


@dataclass(frozen=True)
class Ledger:
    """Payments in order and their exact sum."""

    entries: tuple[LedgerEntry, ...] = ()
    total: Decimal = Decimal(0)

    def charge(self, entry: LedgerEntry) -> Ledger:
        """Return the ledger with one payment more."""
        return Ledger((*self.entries, entry), EXACT.add(self.total, entry.cost))
