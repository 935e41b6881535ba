"""What the benchmark of token drop, compaction and codecs measures, and how it is put together."""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from onlooker.benchmarks.fewer_tokens import codecs
from onlooker.benchmarks.fewer_tokens.answers import AnswerMarks
from onlooker.benchmarks.fewer_tokens.engines import Rows
from onlooker.benchmarks.fewer_tokens.savings import SCENES, num_compacted
from onlooker.benchmarks.scenarios import tokens
from onlooker.core.errors import ConfigError
from tests.unit.cache_store.factories import make_record

COSTS = {"tokens_ratio": 0.5, "encoder_ratio": 1.0, "kv_bytes_ratio": 0.4, "time_ratio": 0.6}
SCENE = {**COSTS, "clip_ms": 60.0}


def options(folder: Path, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    tokens.add_options(parser)
    found = parser.parse_args(arguments)
    found.model, found.seed, found.out = "demo", 1, folder
    return found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the engines; the names of the parts that were measured."""
    told: list[str] = []

    def stand_in(name: str, methods_at: int, row: dict[str, Any]) -> Any:
        async def part(*arguments: Any) -> Rows:
            told.append(name)
            return {method: dict(row) for method in arguments[methods_at]}

        return part

    costs = dict.fromkeys(SCENES, SCENE)
    marks = {"accuracy": 1.0, "recall": 0.9}
    monkeypatch.setattr(tokens, "costs", stand_in("costs", 3, costs))
    monkeypatch.setattr(tokens, "answers", stand_in("answers", 2, marks))
    monkeypatch.setattr(codecs, "costs", stand_in("codec costs", 2, costs))
    monkeypatch.setattr(codecs, "answers", stand_in("codec answers", 2, marks))
    return told


async def test_every_method_has_a_row_with_all_figures_and_off_is_first(
    tmp_path: Path, measured: list[str]
) -> None:
    figures = await tokens.measure(options(tmp_path))
    methods = figures["methods"]
    assert [*methods] == ["off", *tokens.METHODS]
    for row in methods.values():
        assert {*COSTS, "accuracy", "recall"} <= row.keys()
    assert measured == ["costs", "answers"] * 2 + ["codec costs", "codec answers"]
    assert "off" in tokens.table(figures).splitlines()[1]


async def test_a_run_that_was_cut_short_goes_on(tmp_path: Path, measured: list[str]) -> None:
    await tokens.measure(options(tmp_path, "--part", "costs"))
    measured.clear()
    figures = await tokens.measure(options(tmp_path, "--resume"))
    assert measured == ["answers", "answers", "codec answers"]
    assert figures["methods"]["filled"]["webcam"] == SCENE


def test_what_was_measured_first_counts() -> None:
    found: Rows = defaultdict(dict)
    tokens.merge(found, {"off": {"now": 1.0}})
    tokens.merge(found, {"off": {"now": 0.5, "recall": 0.9}})
    assert found == {"off": {"now": 1.0, "recall": 0.9}}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_codec_takes_fewer_bytes_than_16_bits_a_value_and_more_time(dtype: str) -> None:
    records = [make_record(index, shape=(2, 2, 2, 64, 64), dtype=dtype) for index in range(3)]
    rows = {name: codecs.packed(records, name, 0.1) for name in codecs.LOSSY}
    ratios = [rows[name]["kv_bytes_ratio"] for name in ("int8", "int4")]
    assert 0.5 < ratios[0] < 0.6
    assert 0.25 < ratios[1] < 0.35
    assert all(row["time_ratio"] >= 1 and row["tokens_ratio"] == 1 for row in rows.values())


def test_accuracy_is_of_now_and_of_named_seconds() -> None:
    row = AnswerMarks(now=[True], at_time=[True, False, True], recall=[False]).row()
    assert row["accuracy"] == 0.75
    assert row["recall"] == 0
    assert row["questions"] == {"now": 1, "at_time": 3, "recall": 1, "accuracy": 4}


def test_what_compaction_leaves_is_not_told_where_nothing_was_compacted() -> None:
    assert num_compacted(32, 16) == 16
    assert num_compacted(31, 16) == 8
    for num_clips in (12, 20, 23):
        with pytest.raises(ConfigError, match="--clips 24"):
            num_compacted(num_clips, 16)
