"""`IndexRows`: index entries as arrays of a stored record, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.worker.scores import SCORES


@dataclass(frozen=True, slots=True)
class IndexRows:
    """Entries of one score in some layers. A record holds float32: rows of bytes travel as the
    bytes of such numbers."""

    score: ScoreName
    layers: Sequence[int] | None = None
    """The layers of which there are entries, ascending; None: all."""

    @property
    def name(self) -> str:
        """What is written beside a row, so that it is not taken for one of another kind."""
        kept = "" if self.layers is None else "@" + ",".join(map(str, self.layers))
        return self.score + kept

    def stored(self, entries: torch.Tensor | None) -> NDArray[np.float32]:
        """The array for `entries`, which is empty where there are none."""
        if entries is None:
            return np.zeros(0, np.float32)
        if SCORES[self.score].is_packed:
            return entries.contiguous().view(torch.float32).numpy()
        return entries.float().contiguous().numpy()

    def entries(
        self, row: NDArray[Any], name: str | None, dtype: torch.dtype
    ) -> torch.Tensor | None:
        """The entries of a stored `row` that was written with this `name`, as `dtype` where they
        are numbers; None where it is empty or of another kind. Of a row of all layers, those that
        are kept are taken."""
        if not row.size or name not in (self.name, self.score):
            return None
        array = np.array(row)
        if name != self.name and self.layers is not None:
            if len(array) <= max(self.layers):
                return None
            array = array[list(self.layers)]
        found = torch.from_numpy(array)
        return found.view(torch.uint8) if SCORES[self.score].is_packed else found.to(dtype)
