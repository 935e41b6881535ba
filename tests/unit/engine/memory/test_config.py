"""Settings that cannot work together are refused with what to do."""

from typing import Any

import pytest
from pydantic import ValidationError

from onlooker.engine.config import EngineSection
from onlooker.engine.memory.config import MemorySection


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"retrieved_clips": 0, "mass": 0.5}, "retrieved_clips is 0"),
        ({"retrieved_clips": 0, "recency_gate": "scores"}, "retrieved_clips is 0"),
        ({"retrieval": "layers", "recency_gate": "scores"}, "choose 'auto' or 'probe'"),
        ({"ranking": {"score": "page_mean", "second_look": "page_mean"}}, "leave it out"),
        ({"ranking": {"voting_layers": []}}, "name a layer"),
        ({"ranking": {"voting_layers": [1, 1]}}, "different numbers"),
        ({"ranking": {"voting_layers": [-1]}}, "different numbers"),
        ({"ranking": {"score": "best"}}, "mean_key"),
        ({"timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"timezone": "../etc"}, "no time zone"),
        ({"mass": 1.0}, "less than 1"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        MemorySection.model_validate(settings)


@pytest.mark.parametrize("drop", [{"method": "filled"}, {"under_load": "shown_again"}])
def test_clips_that_are_not_kept_are_not_thinned(drop: dict[str, str]) -> None:
    given = {"mode": "resend", "memory": {"token_drop": drop}}
    with pytest.raises(ValidationError, match=r"the mode is 'resend'.*leave memory.token_drop out"):
        EngineSection.model_validate(given)
    EngineSection.model_validate({**given, "mode": "segments"})


def test_clips_that_are_not_kept_are_not_compacted() -> None:
    given = {"mode": "resend", "memory": {"compaction": {"method": "merge"}}}
    with pytest.raises(ValidationError, match=r"leave memory\.compaction out"):
        EngineSection.model_validate(given)
    EngineSection.model_validate({**given, "mode": "segments"})


def test_no_retrieval_at_all_is_a_choice() -> None:
    assert MemorySection(retrieved_clips=0).recency_gate == "words"
