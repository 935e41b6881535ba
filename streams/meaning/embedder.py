"""`Embedder`: texts as vectors that lie near each other where the texts mean the same."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """A model of sentences. `embed` may take long, and is called by one thread at a time."""

    @property
    def num_dims(self) -> int:
        """Numbers of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[num_texts, num_dims], each of length 1, or 0 where nothing in a text is known: the
        product of two is their nearness, from -1 to 1."""
        ...
