"""Bad settings are refused with the field's name."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.slo import Slo, Tier


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"interactive": {"ttft_s": 0, "tpot_s": 0.1, "lag_s": 2}}, "interactive.ttft_s"),
        ({"standard": {"ttft_s": 1, "tpot_s": -0.1, "lag_s": 2}}, "standard.tpot_s"),
        ({"background": {"ttft_s": 10, "tpot_s": 1, "lag_s": 0}}, "background.lag_s"),
        ({"background": {"ttft_s": 0.1, "tpot_s": 1, "lag_s": 20}}, "ttft_s contradicts"),
        ({"step_s": -0.05}, "step_s"),
        ({"step_s": 0.9}, "step_s"),
        ({"ingest_share": 0.95, "check_share": 0.1}, "ingest_share"),
        ({"ingest_share": 0}, "ingest_share"),
        ({"target_load": 1.5}, "target_load"),
        ({"step_down_s": 9, "step_up_s": 8}, "step_up_s"),
        ({"refuse_after": 0}, "refuse_after"),
        ({"policy": "lottery"}, "policy"),
        ({"default_tier": "royal"}, "default_tier"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SchedulerSection.model_validate(values)
    told = [".".join(map(str, e["loc"])) + " " + e["msg"] for e in refused.value.errors()]
    assert any(named in line for line in told), told


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["ttft_s", "tpot_s", "lag_s"])
def test_an_slo_without_a_target_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Slo(**{"ttft_s": 1.0, "tpot_s": 0.1, "lag_s": 2.0, name: value})


def test_a_tier_that_is_not_chosen_is_the_default_one() -> None:
    section = SchedulerSection(default_tier="background")
    assert section.slo() == section.slo(Tier.BACKGROUND)
    assert section.slo(Tier.INTERACTIVE).ttft_s < section.slo().ttft_s
