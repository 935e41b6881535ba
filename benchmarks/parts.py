"""`Parts`: figures of a long benchmark, part by part, so that one that was cut short goes on."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from onlooker.benchmarks.report import manifest, write

Figures = dict[str, Any]


class Parts:
    """Keeps the figures of each part in a file of its own as soon as they are there.

    Args:
        folder: of the files.
        seed: what a part was measured with.
        options: what figures depend on, plain values.
        resumes: whether a part that is there, of the same options and commit, is taken as it is.
    """

    def __init__(
        self, folder: Path, *, seed: int, options: dict[str, Any], resumes: bool = False
    ) -> None:
        self._folder = folder
        self._seed = seed
        self._options = options
        self._resumes = resumes

    async def get(self, name: str, measure: Callable[[], Awaitable[Figures]]) -> Figures:
        """The figures of a part, measured unless they are there."""
        if self._resumes and (known := self._known(name)) is not None:
            print(f"  {name}: measured before", flush=True)
            return known
        figures = await measure()
        told = {"options": self._options, "figures": figures}
        write(self._folder, name, told, seed=self._seed)
        return figures

    def _known(self, name: str) -> Figures | None:
        path = self._folder / f"{name}.json"
        if not path.exists():
            return None
        told = json.loads(path.read_text())
        commit = manifest(self._seed)["commit"]
        if told["options"] != self._options or told["measured_with"]["commit"] != commit:
            return None
        figures: Figures = told["figures"]
        return figures
