"""The whole check of a GPU, on a CPU with tiny shapes, so that it works when a GPU is there."""

import json
from pathlib import Path
from typing import Any

import pytest

from onlooker.benchmarks.gpu_check.__main__ import main
from onlooker.benchmarks.gpu_check.gpu_check import PARTS

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(2500)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("check") / "check.json"
    names = [part.name for part in PARTS if part.name != "tests"]
    main(["--tiny", "--minutes", "40", "--out", str(out), "--only", ",".join(names)])
    told: dict[str, Any] = json.loads(Path(out).read_text())
    return told


def test_every_part_ends_well(found: dict[str, Any]) -> None:
    assert {name: figures["ended"] for name, figures in found.items()} == {
        part.name: "well" for part in PARTS if part.name != "tests"
    }


@pytest.mark.parametrize("part", ["served_2b", "served_8b"])
def test_a_model_tells_its_figures(found: dict[str, Any], part: str) -> None:
    figures = found[part]
    assert all(step["vision_tokens_s"] > 0 for step in figures["ingest"].values())
    assert figures["load"]["steps"]["1"]["clip_p95_ms"] > 0
    assert figures["memory"]["first_word_p50_ms"] > 0
    assert sum(figures["tiers"]["fetched_bytes"].values()) > 0


def test_the_device_tells_its_figures(found: dict[str, Any]) -> None:
    assert found["machine"]["commit"] is not None
    assert found["link"]["up_gb_s"] > 0
    assert found["movers"]["tiny"]["ms"]["answer"] > 0
