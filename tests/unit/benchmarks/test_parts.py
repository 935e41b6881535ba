"""A long benchmark that was cut short goes on where it stopped, if nothing has changed since."""

import json
from pathlib import Path
from typing import Any

import pytest

from onlooker.benchmarks.parts import Figures, Parts

OPTIONS = {"clips": 20, "methods": ["filled"]}


class Measuring:
    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> Figures:
        self.times += 1
        return {"off": {"times": self.times}}


def parts(folder: Path, *, resumes: bool, options: dict[str, Any] = OPTIONS) -> Parts:
    return Parts(folder, seed=1, options=options, resumes=resumes)


async def test_what_is_measured_is_kept_at_once(tmp_path: Path) -> None:
    measuring = Measuring()
    await parts(tmp_path, resumes=False).get("costs", measuring)
    told = json.loads((tmp_path / "costs.json").read_text())
    assert told["figures"] == {"off": {"times": 1}}
    assert await parts(tmp_path, resumes=True).get("costs", measuring) == told["figures"]
    assert measuring.times == 1


async def test_without_being_told_to_resume_all_is_measured_again(tmp_path: Path) -> None:
    measuring = Measuring()
    await parts(tmp_path, resumes=False).get("costs", measuring)
    assert await parts(tmp_path, resumes=False).get("costs", measuring) == {"off": {"times": 2}}


async def test_a_part_of_other_options_is_measured_again(tmp_path: Path) -> None:
    measuring = Measuring()
    await parts(tmp_path, resumes=False).get("costs", measuring)
    await parts(tmp_path, resumes=True, options={**OPTIONS, "clips": 32}).get("costs", measuring)
    assert measuring.times == 2


async def test_a_part_of_another_commit_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = Measuring()
    await parts(tmp_path, resumes=False).get("costs", measuring)
    monkeypatch.setattr("onlooker.benchmarks.parts.manifest", lambda seed: {"commit": "another"})
    await parts(tmp_path, resumes=True).get("costs", measuring)
    assert measuring.times == 2
