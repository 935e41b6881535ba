"""A digest tells what checks do not contradict."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineFailed
from onlooker.core.ids import StreamId
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Question
from onlooker.engine.wording import DEFAULT_WORDING, Wording, WordingRule
from onlooker.streams.moments.presence import Looks
from onlooker.streams.moments.proofreader import Proofreader
from tests.fakes.diaries import make_entry

BY_RULE = Wording(
    rules=(
        WordingRule(r"there is an? (\w+ \w+)", "Is there a {1}?", about_event=False),
        WordingRule(r"there is an? (\w+)", "Has a {1} come?", about_event=True),
    )
)


class Sighted(ScriptedEngine):
    """Sees some things in the clips of some seconds; of `blind_s` it can tell nothing."""

    def __init__(
        self,
        seen_s: Mapping[str, tuple[int, ...]],
        wording: Wording = BY_RULE,
        *,
        blind_s: int = -1,
    ) -> None:
        super().__init__()
        self._info = replace(self._info, wording=wording)
        self.seen_s, self.blind_s = seen_s, blind_s
        self.asked: list[tuple[str, int]] = []
        self.num_at_once = self.most_at_once = 0

    async def check(self, check: Check) -> CheckResult:
        at = math.floor(check.asked_s)
        self.asked.append((check.text, at))
        self.num_at_once += 1
        self.most_at_once = max(self.most_at_once, self.num_at_once)
        await asyncio.sleep(0)
        self.num_at_once -= 1
        if at == self.blind_s:
            raise EngineFailed("it sees nothing")
        is_so = any(thing in check.text and at in seen for thing, seen in self.seen_s.items())
        return CheckResult(logprobs=(0.0, -8.0) if is_so else (-8.0, 0.0), num_prompt_tokens=3)


def reader(engine: Sighted, *, max_checks: int = 100) -> Proofreader:
    return Proofreader(
        Looks(
            engine=engine,
            question=Question(text="What happened?", stream_id=StreamId("s"), asked_s=9.0),
            clock=ManualClock(),
            until_s=math.inf,
            max_checks=max_checks,
            max_parallel=2,
        )
    )


@pytest.mark.parametrize(
    ("text", "seen_s", "is_told"),
    [
        ("A red star appeared.", (2, 3), True),
        ("A red star appeared.", (3,), False),  # it is not there
        ("A red star appeared.", (1, 2), False),  # it was there before
        ("The red star left.", (0, 1), True),
        ("The red star left.", (1, 2), False),
        ("The red star left.", (5,), False),
        ("The red star started moving.", (2,), True),
        ("The red star started moving.", (), False),
        ("The scene changed.", (), True),  # it claims nothing that could be checked
        ("A dog appeared.", (), True),  # what has just happened leaves nothing to see
    ],
)
async def test_what_a_check_contradicts_is_left_out(
    text: str, seen_s: tuple[int, ...], *, is_told: bool
) -> None:
    engine, entry = Sighted({"red star": seen_s}), make_entry(2.0, text)
    proved = await reader(engine).proved([entry], max_items=5)
    assert proved.entries == [entry] * is_told


async def test_what_takes_the_place_of_what_is_left_out_is_checked_too() -> None:
    entries = [
        make_entry(1.0, "A red star appeared."),
        make_entry(2.0, "A red star appeared."),
        make_entry(3.0, "A red cross appeared."),
        make_entry(4.0, "A blue cross appeared."),
    ]
    engine = Sighted({"red star": (1,)})
    told = await reader(engine).proved(entries, max_items=1)
    assert told.entries == entries[:1]  # of the star, one of two times is so


async def test_what_checks_confirm_is_told_before_what_they_cannot_tell() -> None:
    often = [make_entry(float(at), "A red star appeared.") for at in (1, 3, 5)]
    rare = make_entry(7.0, "The blue cross stopped.")
    engine = Sighted({"red star": (1, 3, 5), "blue cross": (7,)})
    told = await reader(engine).proved([*often, rare], max_items=1)
    (item,), num_other = told.items(max_items=1)
    assert (item.entries, num_other) == (tuple(often), 1)
    both, _ = told.items(max_items=2)
    assert [item.sentence for item in both] == ["A red star appeared", "The blue cross stopped"]


async def test_a_thing_cannot_take_the_colour_that_it_has() -> None:
    engine, entry = Sighted({"red star": (1, 2)}), make_entry(2.0, "The red star turned red.")
    assert (await reader(engine).proved([entry], max_items=5)).entries == []


async def test_what_is_not_told_is_not_checked() -> None:
    engine = Sighted({"red cross": (7,)})  # no star is there
    often = [make_entry(float(at), "A red star appeared.") for at in (1, 3, 5)]
    rare = make_entry(7.0, "A red cross appeared.")
    proved = await reader(engine).proved([*often, rare], max_items=1)
    assert proved.entries == [*often, rare]
    assert {text for text, _ in engine.asked} == {"Is there a red cross?"}


async def test_the_first_clip_has_none_before_it() -> None:
    engine, entry = Sighted({"red star": (0,)}), make_entry(0.0, "A red star appeared.")
    proved = await reader(engine).proved([entry], max_items=5)
    assert proved.entries == [entry]
    assert engine.asked == [("Is there a red star?", 0)]


async def test_what_cannot_be_checked_is_told() -> None:
    entry = make_entry(2.0, "The red star started moving.")
    proved = await reader(Sighted({}, blind_s=2)).proved([entry], max_items=5)
    assert proved.entries == [entry]


async def test_no_more_is_checked_than_may_be() -> None:
    engine = Sighted({})
    entries = [make_entry(float(at), "The red star stopped.") for at in range(1, 6)]
    proofreader = reader(engine, max_checks=2)
    proved = await proofreader.proved(entries, max_items=5)
    assert proved.entries == entries[2:]
    assert (len(engine.asked), proofreader.looks.num_prompt_tokens) == (2, 6)


async def test_as_many_checks_as_may_be_run_at_once_though_all_ask_the_same() -> None:
    engine = Sighted({"red star": tuple(range(9))})
    entries = [make_entry(float(at), "The red star stopped.") for at in range(1, 6)]
    await reader(engine).proved(entries, max_items=5)
    assert (len(engine.asked), engine.most_at_once) == (5, 2)


async def test_a_model_without_rules_is_asked_whether_the_sentence_is_so() -> None:
    engine = Sighted({"A dog came in": (2,)}, DEFAULT_WORDING)
    right, wrong = make_entry(2.0, "A dog came in."), make_entry(4.0, "A dog came in.")
    told = await reader(engine).proved([right, wrong], max_items=5)
    assert told.entries == [right]
