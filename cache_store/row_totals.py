"""`RowTotals`: what became of the rows of an album or a diary, and what is held now."""

from collections import Counter
from dataclasses import dataclass

OUTCOMES = ("added", "thinned", "aged", "refused", "errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTotals:
    """Totals since opening, and what is held now."""

    num_bytes: int = 0
    """Room that the rows take, as it counts for the budgets."""
    num_streams: int = 0
    added: int = 0
    thinned: int = 0
    """Rows that made room for newer ones."""
    aged: int = 0
    refused: int = 0
    """Rows of more streams than are taken, or of streams that another server owns."""
    errors: int = 0

    def gained(self, before: "RowTotals") -> dict[str, int]:
        """By outcome as metrics name it, how many more there are than `before`."""
        return {
            "kept": self.added - before.added,
            "thinned": self.thinned - before.thinned,
            "aged": self.aged - before.aged,
            "refused": self.refused - before.refused,
            "failed": self.errors - before.errors,
        }


def totals_of(counts: Counter[str]) -> dict[str, int]:
    """The totals out of a store's `counts`, as fields of `RowTotals`."""
    return {name: counts[name] for name in OUTCOMES}
