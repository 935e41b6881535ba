"""Names of cameras in a row, as answers tell them."""

from collections.abc import Sequence

MAX_NAMED = 20
"""Cameras that are named in one row; of more it says how many there are."""


def listed(names: Sequence[str]) -> str:
    """ "a, b and c" """
    shown = list(names[:MAX_NAMED])
    if len(names) > MAX_NAMED:
        shown.append(f"{len(names) - MAX_NAMED} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
