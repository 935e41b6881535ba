"""What a server still holds when attacks are over, judged by what it held before.

A server that was just started holds less than one that has worked: pools of threads are filled and
code is loaded when they are first needed. So "before" is taken after all of it was used, and what
is above that is judged by whether the same attacks once more make it grow.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from onlooker.benchmarks.processes import Holdings

MARGINS: Mapping[str, float] = {"processes": 0, "rss_bytes": 0.1, "descriptors": 4, "threads": 4}
"""What a figure may vary by without a reason: of `rss_bytes` a share of it, else a number."""


def leaks_of(before: Holdings, first: Holdings, second: Holdings | None) -> dict[str, Any]:
    """The figures of each thing held, with a verdict. `second` is None where there was no second
    round of attacks."""
    found: dict[str, Any] = {}
    for name, value in asdict(before).items():
        after = asdict(first)[name]
        after_second = None if second is None else asdict(second)[name]
        found[name] = {
            "before": value,
            "after": after,
            "after_second_round": after_second,
            "verdict": verdict(value, after, after_second, margin=_margin(name, value)),
        }
    return found


def verdict(before: float, after: float, after_second: float | None, *, margin: float) -> str:
    """``none``: it is back at what it was. ``bounded``: it is not, but the second round added
    nothing. ``grows``: it added more."""
    newest = after if after_second is None else after_second
    if newest <= before + margin:
        return "none"
    return "bounded" if after_second is not None and after_second <= after + margin else "grows"


def _margin(name: str, before: float) -> float:
    margin = MARGINS[name]
    return margin * before if name == "rss_bytes" else margin
