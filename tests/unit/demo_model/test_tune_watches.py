"""Thresholds of watches from validation worlds: what is asked, what is hidden, what is kept."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onlooker.demo_model.tune_watches import (
    FIRST_SEED,
    QUIET,
    Form,
    Tuner,
    conditions,
    form_of,
    report,
    write,
)
from onlooker.demo_model.world import World
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.vllm_adapter.gateway.model_folder import find_model
from onlooker.watches.config import WatchesSection

PROFILE = find_model("demo", served_name=None).profile
WORDING = PROFILE.watching


class Parrot:
    """An engine that says yes to everything, and counts."""

    info = SimpleNamespace(wording=WORDING, frame_width=72, frame_height=72)

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def open_stream(self, stream_id: str) -> None: ...
    async def close_stream(self, stream_id: str) -> None: ...
    async def ingest(self, clip: Any) -> None: ...

    async def check(self, check: Check) -> CheckResult:
        self.asked.append(check.text)
        return CheckResult(logprobs=(-0.1,) * len(check.answers) if check.answers else ())


async def test_the_picture_hides_no_event_of_the_drawn_world_from_the_model() -> None:
    engine = Parrot()
    tuner = Tuner(engine, WatchesSection())
    for seed in range(FIRST_SEED, FIRST_SEED + 2):
        await tuner.watch(seed, 50)
    assert set(tuner.forms) == {rule.pattern for rule in WORDING.rules} - {
        r"there is (?:an?|the) (\w+ \w+)"
    } | {QUIET}
    for name, form in tuner.forms.items():
        assert form.hidden == 0, name
        assert form.shown, name
        assert form.chances, name
    assert sum(len(form.chances) for form in tuner.forms.values()) == len(engine.asked)


def test_every_condition_that_is_tried_has_a_form_of_its_own() -> None:
    asked = conditions(random.Random(1), World(FIRST_SEED).state_at(20.0))
    assert all(form_of(WORDING, one.condition) for one in asked)
    assert not form_of(WORDING, "somebody rings")


@pytest.mark.parametrize(
    ("chances", "best"),
    [
        ([(0.1, False), (0.2, False), (0.8, True), (0.9, True)], 0.5),
        ([(0.1, False), (0.9, True), (0.95, True), (0.3, True)], 0.21),
        ([(0.6, False), (0.4, True), (0.9, True), (0.3, False)], 0.36),
    ],
)
def test_the_threshold_is_the_middle_of_the_best_range(
    chances: list[tuple[float, bool]], best: float
) -> None:
    assert Form(chances).best() == pytest.approx(best, abs=0.011)


def test_what_was_found_is_kept_beside_the_rest(tmp_path: Path) -> None:
    profile = {"knows": "shapes", "watching": {"rules": [{"pattern": "a"}, {"pattern": "b"}]}}
    (tmp_path / "onlooker.json").write_text(json.dumps(profile), encoding="utf-8")
    forms = {
        "a": Form([(0.2, False), (0.6, True)]),
        "b": Form([(0.6, True)]),  # nothing to tell apart
        QUIET: Form([(0.3, False), (0.9, True)]),
    }
    kept = json.loads(write(tmp_path, forms).read_text(encoding="utf-8"))
    assert kept["knows"] == "shapes"
    assert kept["watching"]["rules"][0]["threshold"] == pytest.approx(0.4, abs=0.011)
    assert "threshold" not in kept["watching"]["rules"][1]
    assert kept["watching"]["silence_threshold"] == pytest.approx(0.6, abs=0.011)
    assert len(report(forms, WORDING)) == 4
