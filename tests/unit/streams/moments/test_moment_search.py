"""When something was so, found by looks at the stretches between a diary's entries."""

import math
from collections.abc import Mapping, Sequence

import pytest

from onlooker.cache_store.diaries.words import words_of
from onlooker.cache_store.diary import DiaryEntry, Level
from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Question
from onlooker.engine.wording import DEFAULT_WORDING, CheckQuestion
from onlooker.streams.moments import stretches
from onlooker.streams.moments.moment_search import FoundTimes, MomentSearch
from onlooker.streams.moments.presence import Presence
from onlooker.streams.moments.stretches import Stretch, stretches_of
from tests.fakes.diaries import make_entry

DOG = "A dog came in."
CAT = "A cat came in."
HINT = "Something brown came in."
"""It may be the dog."""


class Onlooker(ScriptedEngine):
    """Sees a dog at the clips, a second each, that a text marks; and errs at some."""

    def __init__(self, shown: str, wrong: Sequence[int], failing: Sequence[int] = ()) -> None:
        super().__init__()
        self.shown, self.wrong, self.failing = shown, wrong, failing
        self.unsure: Sequence[int] = ()

    async def check(self, check: Check) -> CheckResult:
        self.checks.append(check)
        index = min(math.floor(check.asked_s), len(self.shown) - 1)
        if index in self.failing:
            return CheckResult(logprobs=(-math.inf, -math.inf))  # it cannot be told
        if index in self.unsure:
            return CheckResult(logprobs=(-0.6, -0.8))  # just a yes
        is_so = (self.shown[index] == "#") != (index in self.wrong)
        sure = 5.0 + index / 1000  # no two clips look quite the same
        return CheckResult(logprobs=(0.0, -sure) if is_so else (-sure, 0.0))


class Looks:
    """A search of a stream of one clip a second, and what it looked at."""

    def __init__(
        self,
        shown: str,
        written: Mapping[int, str],
        *,
        wrong: Sequence[int] = (),
        sweeps: bool = True,
        max_checks: int = 1000,
        about_event: bool = False,
        failing: Sequence[int] = (),
    ) -> None:
        self.engine = Onlooker(shown, wrong, failing)
        self.stretches = _stretches(written, len(shown))
        presence = Presence(
            engine=self.engine,
            question=Question(text="?", stream_id=StreamId("door"), asked_s=float(len(shown))),
            asked=CheckQuestion("Is there a dog?", about_event),
            wording=DEFAULT_WORDING,
            clock=ManualClock(),
            until_s=math.inf,
            max_checks=max_checks,
            max_parallel=16,
        )
        self.search = MomentSearch(self.stretches, presence, is_whole=True, sweeps=sweeps)


def _stretches(written: Mapping[int, str], end_s: int) -> list[Stretch]:
    entries = [
        DiaryEntry(level=Level.SCENE, start_s=float(at_s), end_s=float(at_s), wall_s=0.0, text=text)
        for at_s, text in written.items()
    ]
    named = [one for one in entries if "dog" in one.text or HINT in one.text]
    return stretches_of(entries, [(0.0, float(end_s))], named=named, subject=["dog"])


def times(found: FoundTimes) -> list[float]:
    return [one.at_s for one in found.moments]


async def test_what_the_diary_names_otherwise_is_found_where_it_is_seen_in_several_clips() -> None:
    looks = Looks("...###....###...", {0: "Dark.", 3: DOG, 6: "Dark.", 10: CAT, 13: "Dark."})
    found = await looks.search.each()
    assert (times(found), found.is_exact) == ([3.0, 10.0], True)


async def test_only_what_is_named_is_looked_at_where_sweeping_is_off() -> None:
    written = {0: "Dark.", 3: DOG, 6: "Dark.", 10: CAT, 13: "Dark."}
    looks = Looks("...###....###...", written, sweeps=False)
    assert times(await looks.search.each()) == [3.0]
    assert {math.floor(check.asked_s) for check in looks.engine.checks} <= {0, 2, 3, 4, 5}


async def test_what_is_named_by_mistake_is_none_where_the_clips_after_it_do_not_show_it() -> None:
    looks = Looks("..........", {0: "Dark.", 3: DOG, 7: CAT}, wrong=[3], sweeps=False)
    assert times(await looks.search.each()) == []


async def test_it_begins_where_it_barely_seemed_so_in_the_one_clip_before() -> None:
    looks = Looks("......###...", {0: "Dark.", 2: CAT, 6: DOG, 9: "Dark."}, sweeps=False)
    looks.engine.unsure = [5]
    assert times(await looks.search.each()) == [6.0]


@pytest.mark.parametrize("wrong", [[10], [0], [13]])
async def test_one_clip_that_deceives_is_no_moment(wrong: list[int]) -> None:
    written = {0: "Dark.", 3: DOG, 6: "Dark.", 10: CAT, 13: "Dark."}
    looks = Looks("...###..........", written, wrong=wrong)
    assert times(await looks.search.each()) == [3.0]


async def test_one_clip_that_misses_it_does_not_split_a_moment_in_two() -> None:
    looks = Looks("..############..", {0: "Dark.", 2: DOG, 6: CAT, 10: DOG, 14: "Dark."}, wrong=[6])
    assert times(await looks.search.each()) == [2.0]


async def test_what_is_named_is_believed_by_one_look() -> None:
    looks = Looks("...##.....", {0: "Dark.", 3: DOG, 4: CAT, 5: "Dark."})
    assert times(await looks.search.each()) == [3.0]


async def test_what_is_shown_in_one_clip_only_and_not_named_is_not_called_exact() -> None:
    looks = Looks("...#......", {0: "Dark.", 3: CAT, 4: "Dark."})
    assert (await looks.search.each()).is_exact is False


async def test_where_not_all_may_be_checked_what_is_named_is_and_that_is_told() -> None:
    written = {0: "Dark.", 3: DOG, 6: "Dark.", 10: CAT, 13: "Dark."}
    looks = Looks("...###....###...", written, max_checks=5)
    found = await looks.search.each()
    assert (times(found), found.is_exact) == ([3.0], False)


async def test_where_checks_run_out_the_times_that_were_reached_are_told() -> None:
    written = {at_s: DOG if at_s % 2 else "Dark." for at_s in range(200)}
    looks = Looks(".#" * 100, written, sweeps=False, max_checks=90)
    found = await looks.search.each()
    assert times(found) == [float(at_s) for at_s in range(1, 2 * len(times(found)), 2)]
    assert (len(times(found)) > 20, found.is_exact) == (True, False)


async def test_the_first_is_found_before_the_first_that_is_named() -> None:
    written = {0: "Dark.", 3: CAT, 6: "Dark.", 10: DOG, 13: "Dark.", 20: "Dark.", 30: "Dark."}
    looks = Looks("...###....###" + "." * 30, written)
    found = await looks.search.first()
    assert (times(found), found.is_exact) == ([3.0], True)
    assert max(check.asked_s for check in looks.engine.checks) < 13


async def test_the_last_is_found_after_the_last_that_is_named() -> None:
    written = {0: "Dark.", 3: DOG, 6: "Dark.", 10: CAT, 13: "Dark."}
    looks = Looks("...###....###...", written)
    assert times(await looks.search.last()) == [10.0]
    seen = await Looks("...###....###...", written).search.last_seen()
    assert (times(seen), seen.is_lasting) == ([13.0], False)


async def test_what_is_still_there_is_said_to_last() -> None:
    found = await Looks("...######", {0: "Dark.", 3: DOG, 6: CAT}).search.last_seen()
    assert (times(found), found.is_lasting, found.is_exact) == ([9.0], True, True)


async def test_what_left_unnoticed_since_the_last_entry_is_not_said_to_last() -> None:
    found = await Looks("...######...", {0: "Dark.", 3: DOG, 6: CAT}).search.last_seen()
    assert (times(found), found.is_lasting) == ([6.0], False)


async def test_what_is_just_coming_in_is_found_in_the_next_clip() -> None:
    written = {0: "Dark.", 3: HINT, 4: CAT, 7: "Dark."}
    looks = Looks("...####...", written, sweeps=False)
    looks.engine.unsure = [3]
    assert times(await looks.search.each()) == [4.0]


async def test_what_only_seems_to_come_in_is_no_moment() -> None:
    written = {0: "Dark.", 3: HINT, 4: CAT, 7: "Dark."}
    looks = Looks("..........", written, sweeps=False)
    looks.engine.unsure = [3]
    assert times(await looks.search.each()) == []


async def test_one_look_at_the_end_of_a_stretch_makes_no_moment() -> None:
    written = {0: "Dark.", 3: CAT, 12: "The dog barks."}
    looks = Looks("...............", written, sweeps=False, wrong=[11])
    assert times(await looks.search.each()) == []


async def test_one_look_that_errs_before_a_named_entry_does_not_split_a_moment_in_two() -> None:
    written = {0: "Dark.", 3: DOG, 6: CAT, 12: "The dog barks."}
    looks = Looks("...#############", written, sweeps=False, wrong=[11])
    assert times(await looks.search.each()) == [3.0]


def test_what_an_entry_claims_is_said_and_what_it_says_in_full_is_of_nothing_else() -> None:
    texts = ("The blue cup turned red.", "A red box and a blue cup")
    entries = [make_entry(float(at_s), text) for at_s, text in enumerate(texts)]
    cup, box = (
        stretches_of(entries, [(0.0, 9.0)], named=entries, subject=["red", thing])
        for thing in ("cup", "box")
    )
    assert [(one.is_phrase, one.is_hinted) for one in cup] == [(True, False), (False, False)]
    assert [(one.is_phrase, one.is_hinted) for one in box] == [(False, False), (True, False)]
    hint = [make_entry(1.0, "A blue box. Something red appeared")]
    (one,) = stretches_of(hint, [(0.0, 9.0)], named=hint, subject=["red", "cup"])
    assert (one.is_phrase, one.is_hinted) == (False, True)


@pytest.mark.parametrize("unsure", [[], [5]])
async def test_a_glimpse_that_tells_nothing_does_not_split_a_moment_in_two(
    unsure: list[int],
) -> None:
    written = {0: "Dark.", 3: DOG, 5: CAT, 6: DOG, 9: "Dark."}
    looks = Looks("...##.###...", written, sweeps=False)
    looks.engine.unsure = unsure
    assert times(await looks.search.each()) == ([3.0] if unsure else [3.0, 6.0])


async def test_what_was_never_there_is_not_found() -> None:
    for shown in ("..........", "...#......"):  # the one clip is a mistake of the check
        looks = Looks("..........", {0: "Dark.", 3: CAT, 6: "Dark."}, wrong=[shown.find("#")])
        assert times(await looks.search.last_seen()) == []
        assert times(await looks.search.first()) == []


async def test_an_event_is_looked_for_where_it_is_named_only() -> None:
    looks = Looks("...#..#..", {0: "Dark.", 3: DOG, 6: CAT}, about_event=True, sweeps=False)
    found = await looks.search.each()
    assert (times(found), found.is_exact) == ([3.0], True)
    assert len(looks.engine.checks) == 1


def test_of_a_long_diary_only_the_words_of_what_is_named_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = list[str]()

    def words(text: str) -> list[str]:
        read.append(text)
        return words_of(text)

    monkeypatch.setattr(stretches, "words_of", words)
    _stretches({0: "Dark.", 3: DOG, 6: "Dark.", 10: CAT}, 13)
    assert read == [DOG]


async def test_where_nothing_is_named_and_the_first_look_fails_the_others_are_not_exact() -> None:
    looks = Looks("....########", {0: "Dark.", 5: CAT, 9: "Light."}, failing=[0])
    found = await looks.search.each()
    assert not found.is_exact
