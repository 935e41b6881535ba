"""Sentences as vectors by model2vec, with a tiny model that the package itself writes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onlooker.cache_store.diary import DiaryEntry
from onlooker.core.clock import SystemClock
from onlooker.core.errors import ConfigError
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.server.config import Settings
from onlooker.server.store_wiring import make_diaries
from onlooker.streams.diary.stream_diary import StreamDiary
from tests.fakes.diaries import make_entry, query

VECTORS = {
    "[UNK]": (0.0, 0.0, 0.0),
    "delivery": (1.0, 0.1, 0.0),
    "parcel": (2.0, 0.0, 0.1),
    "man": (0.2, 0.2, 0.2),
    "dog": (0.0, 3.0, 0.0),
    "rain": (0.0, 0.0, 1.0),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of a few words, as the package writes it."""
    model2vec = pytest.importorskip("model2vec", reason="the extra 'meaning' is not installed")
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: at for at, word in enumerate(VECTORS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.array(list(VECTORS.values()), np.float32)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def settings(folder: Path) -> Settings:
    return Settings.model_validate(
        {"cache_store": {"diary": {"enabled": True, "embedder": folder}}}
    )


def test_what_means_the_same_is_near(folder: Path) -> None:
    from onlooker.streams.meaning.static_embedder import StaticEmbedder

    embedder = StaticEmbedder(folder)
    texts = ["A man with a parcel.", "A dog", "Rain", "Nothing known here"]
    parcel, dog, rain, nothing = embedder.embed(texts)
    (delivery,) = embedder.embed(["delivery"])
    assert (embedder.num_dims, delivery.dtype) == (3, np.float32)
    assert np.linalg.norm(parcel) == pytest.approx(1.0)
    assert not nothing.any()
    assert parcel @ delivery > 0.9 > 0.2 > max(dog @ delivery, rain @ delivery)


async def test_a_diary_is_searched_by_the_model_of_the_folder(folder: Path) -> None:
    keeper = make_diaries(settings(folder), clock=SystemClock(), metrics=Metrics())
    assert keeper is not None
    diary = StreamDiary(StreamId("a/door"), keeper, is_forgotten=lambda start_s, end_s: False)
    told = ["A dog came.", "A man with a parcel came.", "It began to rain."]
    entries: list[DiaryEntry] = [make_entry(float(at), text) for at, text in enumerate(told)]
    diary.add(entries)
    assert await diary.find_near(query(), "delivery") == [entries[1]]
    await keeper.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("no"), "cannot be read"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder)
    with pytest.raises(ConfigError, match=said) as refused:
        make_diaries(settings(folder), clock=SystemClock(), metrics=Metrics())
    assert "cache_store.diary.embedder" in str(refused.value)


def test_a_name_of_a_hub_is_no_folder(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        make_diaries(
            settings(Path("minishlab/potion-base-8M")), clock=SystemClock(), metrics=Metrics()
        )


def test_without_the_extra_who_wants_it_is_told_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onlooker.server.store_wiring.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onlooker\[meaning\]"):
        make_diaries(settings(tmp_path), clock=SystemClock(), metrics=Metrics())
