"""An embedder that knows a few words by what they mean."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.diaries.words import words_of

MEANINGS = (
    ("delivery", "parcel", "package", "courier"),
    ("animal", "dog", "cat"),
    ("weather", "rain"),
    ("crimson", "red"),
)
"""Words that mean the same here."""


class WordEmbedder:
    """A direction for each meaning; what it does not know has none. Notes what it embeds."""

    def __init__(self) -> None:
        self.embedded: list[str] = []
        self.threads: set[int] = set()

    @property
    def num_dims(self) -> int:
        return len(MEANINGS)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += texts
        self.threads.add(threading.get_ident())
        vectors = np.zeros((len(texts), len(MEANINGS)), np.float32)
        for row, text in enumerate(texts):
            stems = set(words_of(text))
            for at, meaning in enumerate(MEANINGS):
                vectors[row, at] = len(stems.intersection(words_of(" ".join(meaning))))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-9)
        return units
