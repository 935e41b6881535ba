"""What a watch asks of the replies of a model that ends pieces of commentary with a pause."""

import dataclasses
from typing import Any

import pytest

from onlooker.core.errors import InvalidRequest
from onlooker.engine.interface import Question
from onlooker.engine.sampling import PauseRamp
from onlooker.watches.options import WatchOptions
from tests.fakes.streams import running_hub
from tests.unit.watches.test_keeper import (
    EVERY,
    INFO,
    VIRTUAL,
    alerts_about,
    finish,
    make_engine,
    show,
)

WORDING = dataclasses.replace(INFO.wording, pause=" ...", pause_threshold=0.5, pause_step=-0.25)
PAUSING = dataclasses.replace(INFO, wording=WORDING)
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}}
COMMENTARY = WatchOptions(instruction="")


async def ramps_of(info: Any, *watches: WatchOptions) -> list[PauseRamp | None]:
    """The rules with which each watch's one reply is asked for, in the order of the watches."""
    asked: list[Question] = []

    def note(question: Question) -> bool:
        asked.append(question)
        return False

    async with running_hub(
        engine=make_engine(info=info, fail_answer=note), perception=EVERY
    ) as hub:
        for options in watches:
            stream = await hub.open_stream(options=VIRTUAL)
            stream.watches.create(options)
            lease = stream.claim_source("test")
            await show(stream, ["red"])
            lease.release()
            await finish(stream)
    return [one.sampling.pause_ramp for one in asked if one.text != "digest?"]


async def test_a_commentary_takes_the_models_own_rule_or_the_watchs() -> None:
    early = dataclasses.replace(COMMENTARY, pause_threshold=0.125)
    flat = dataclasses.replace(early, pause_step=0.0)
    assert await ramps_of(PAUSING, COMMENTARY, early, flat) == [
        PauseRamp(0.5, -0.25), PauseRamp(0.125, -0.25), PauseRamp(0.125, 0.0),
    ]  # fmt: skip


async def test_other_replies_and_other_models_have_no_rule() -> None:
    alert = WatchOptions(condition="it is red", answer_prompt="Which colour?")
    in_json = dataclasses.replace(COMMENTARY, json_schema=SCHEMA)
    assert await ramps_of(PAUSING, alert, in_json) == [None, None]
    assert await ramps_of(INFO, COMMENTARY) == [None]


@pytest.mark.parametrize(
    ("info", "options", "param", "says"),
    [
        (INFO, {"instruction": "", "pause_step": 0.1}, "pause_step", "watching.pause"),
        (PAUSING, {"condition": "it is red", "pause_threshold": 0.5}, "pause_threshold",
         "commentary: give an 'instruction'"),
        (PAUSING, {"instruction": "", "pause_threshold": 1.5}, "pause_threshold", "0 to 1"),
        (PAUSING, {"instruction": "", "pause_step": -2.0}, "pause_step", "-1 to 1"),
    ],
)  # fmt: skip
async def test_a_rule_that_no_reply_can_follow_is_refused(
    info: Any, options: dict[str, Any], param: str, says: str
) -> None:
    async with running_hub(engine=make_engine(info=info)) as hub:
        stream = await hub.open_stream()
        with pytest.raises(InvalidRequest, match=says) as refused:
            stream.watches.create(WatchOptions(**options))
        assert refused.value.param == param


async def test_a_rule_can_change_while_the_watch_goes_on() -> None:
    async with running_hub(engine=make_engine(info=PAUSING)) as hub:
        stream = await hub.open_stream()
        watch = stream.watches.create(COMMENTARY)
        changed = stream.watches.update(watch.watch_id, {"pause_threshold": 0.25})
        assert changed.prompts.pause_ramp == PauseRamp(0.25, -0.25)
        assert changed.trigger is watch.trigger, "it knows what it has seen"


@pytest.mark.parametrize(
    ("info", "reply", "said"),
    [
        (PAUSING, "...", []),
        (PAUSING, "it is {colour} ...", ["it is red ..."]),
        (INFO, "...", ["..."]),
    ],
)
async def test_a_pause_alone_says_nothing(info: Any, reply: str, said: list[str]) -> None:
    alerts = await alerts_about(["red"], COMMENTARY, info=info, script=[("(?i)changed", reply)])
    assert [alert.text for alert in alerts] == said


async def test_an_alert_that_is_told_with_the_mark_of_a_pause_is_told_so() -> None:
    alert = WatchOptions(condition="it is red", answer_prompt="Which colour?")
    (told,) = await alerts_about(["red"], alert, info=PAUSING, script=[("Which colour", "...")])
    assert told.text == "...", "only a commentary has pauses"
