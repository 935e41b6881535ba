"""`StaticEmbedder`: sentences as the means of their words' vectors, by the package `model2vec`.

The only file that knows that package, which comes with the extra ``meaning``. It needs numpy and
no torch: a vector is looked up for each token and the mean is taken (Model2Vec, Tulkens and van
Dongen 2024, https://github.com/MinishLab/model2vec).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from model2vec import StaticModel
from numpy.typing import NDArray

from onlooker.core.errors import ConfigError

_WEIGHTS = ("model.safetensors", "0_StaticEmbedding/model.safetensors")
"""Where a folder has its vectors, one of these; the latter as sentence-transformers writes them."""

MAX_TOKENS = 128
"""Tokens of a text that count."""


class StaticEmbedder:
    """See `Embedder`.

    Args:
        folder: as `StaticModel.save_pretrained` writes it, with ``model.safetensors``,
            ``tokenizer.json`` and ``config.json``. Nothing is ever fetched.

    Raises:
        ConfigError: it is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        # What is no folder the package takes for a name on a hub, and asks for it there.
        if not any((folder / name).is_file() for name in _WEIGHTS):
            raise ConfigError(
                f"cache_store.diary.embedder: {folder} is no folder of a model2vec model: "
                "it has no model.safetensors"
            )
        try:
            self._model = StaticModel.from_pretrained(folder, force_download=False)
            self.embed(["a man at the door"])
        except Exception as error:  # its readers raise what they like, and Exception itself
            raise ConfigError(
                f"cache_store.diary.embedder: {folder} cannot be read as a model2vec model: {error}"
            ) from error

    @property
    def num_dims(self) -> int:
        return int(self._model.dim)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = self._model.encode(list(texts), max_length=MAX_TOKENS, use_multiprocessing=False)
        vectors = np.asarray(found, np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return units
