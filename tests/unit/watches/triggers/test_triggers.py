"""Each family of triggers against a decision table worked out by hand; causality of them all."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.watches.triggers.accumulated import (
    OutlierTest,
    OutlierTrigger,
    RunningSum,
    SumTrigger,
)
from onlooker.watches.triggers.chain import ChainTrigger
from onlooker.watches.triggers.change import ChangeMeter, ChangeTrigger
from onlooker.watches.triggers.drift import DriftTrigger
from onlooker.watches.triggers.evidence import EvidenceTrigger
from onlooker.watches.triggers.heads import HeadsTrigger
from onlooker.watches.triggers.interface import Decision, Defer, Signals, Speak, Trigger
from onlooker.watches.triggers.interval import IntervalTrigger
from onlooker.watches.triggers.patches import changed_share
from onlooker.watches.triggers.silence import SilenceTrigger
from onlooker.watches.triggers.yes_no import YesNoTrigger, probability
from tests.unit.watches.triggers.oracle import Oracle, make_clip, run


def yes(*chances: float | None) -> list[Oracle]:
    return [Oracle(yes=chance) for chance in chances]


# ---- forked yes/no ----


def test_a_rising_edge_speaks_once_until_the_answer_has_fallen_below_the_hysteresis() -> None:
    trigger = YesNoTrigger(threshold=0.8, hysteresis=0.3, about_event=False)
    #                 no   yes  holds holds no   no   yes
    found = run(trigger, yes(0.7, 0.85, 0.6, 0.9, 0.4, 0.7, 0.8))
    assert found == ".S....S"


def test_while_true_speaks_about_every_yes_above_the_threshold() -> None:
    trigger = YesNoTrigger(threshold=0.8, hysteresis=0.3, while_true=True, about_event=False)
    assert run(trigger, yes(0.7, 0.85, 0.6, 0.9, 0.4, 0.8)) == ".S.S.S"


def test_of_what_has_just_happened_every_yes_is_an_event_of_its_own() -> None:
    trigger = YesNoTrigger(threshold=0.8, hysteresis=0.3, about_event=True)
    assert run(trigger, yes(0.7, 0.85, 0.9, 0.7, 0.8)) == ".SS.S"


def test_after_a_lost_check_an_event_is_new_and_a_state_is_not() -> None:
    chances = yes(0.9, None, 0.9)
    assert run(YesNoTrigger(threshold=0.8, about_event=True), chances) == "SxS"
    assert run(YesNoTrigger(threshold=0.8, about_event=False), chances) == "Sx."


def test_calibration_moves_and_stretches_the_margin() -> None:
    assert probability(0.0) == 0.5
    assert probability(2.0, bias=2.0) == 0.5
    assert probability(4.0, temperature=2.0) == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert probability(1e9) > 0.999
    assert probability(-1e9) < 0.001


def test_confidence_is_the_calibrated_probability() -> None:
    trigger = YesNoTrigger(threshold=0.5, bias=0.0, temperature=1.0)
    decision = asyncio.run(trigger.on_clip(make_clip(0), Signals(1.0), Oracle(yes=0.75)))
    assert isinstance(decision, Speak)
    assert decision.confidence == pytest.approx(0.75)


# ---- visual change ----


def test_change_is_compared_with_the_quantile_of_the_clips_before() -> None:
    trigger = ChangeTrigger(quantile=0.5, window=4)
    changes = [0.2, 0.1, 0.3, 0.2, 0.2, 0.3, 0.1]
    # before:  -    .2   .2   .2   .2   .2   .2   (medians of at most four, the upper one)
    assert run(trigger, yes(*[0.5] * 7), changes=changes) == "S.S..S."


def test_nothing_below_the_floor_counts_and_refractory_time_is_kept() -> None:
    trigger = ChangeTrigger(floor=0.1, refractory_s=2.0)
    changes = [0.5, 0.5, 0.1, 0.05, 0.2]
    assert run(trigger, yes(*[0.5] * 5), changes=changes) == "S...S"


def test_the_changed_share_counts_patches() -> None:
    before = np.zeros((24, 24, 3), np.uint8)
    after = before.copy()
    after[:12, :12] = 255  # a quarter of the picture
    assert changed_share(before, after) == pytest.approx(0.25)
    assert changed_share(before, before) == 0.0


def test_the_meter_sees_what_came_and_went_within_a_clip() -> None:
    still = np.zeros((24, 24, 3), np.uint8)
    flash = np.full((24, 24, 3), 200, np.uint8)

    def clip(index: int, first: np.ndarray, second: np.ndarray) -> Clip:
        frames = [Frame(0, index + at, 0.0, pixels) for at, pixels in ((0.0, first), (0.5, second))]
        return Clip(StreamId("door"), index, (frames[0], frames[1]))

    meter = ChangeMeter()
    found = [meter.measure(clip(0, still, still)), meter.measure(clip(1, flash, still)),
             meter.measure(clip(2, still, still))]  # fmt: skip
    assert [signals.change for signals in found] == [1.0, 1.0, 0.0]


# ---- answer drift (LiveStar) ----


def test_an_answer_that_no_longer_fits_is_given_anew() -> None:
    trigger = DriftTrigger(alpha=1.1)
    oracles = [
        Oracle(perplexity_of={"A": 2.0}),  # first: speaks, tau(A) = 2.0
        Oracle(perplexity_of={"A": 2.1}),  # 2.1 <= 2.2
        Oracle(perplexity_of={"A": 2.2}),  # 2.2 <= 2.2
        Oracle(perplexity_of={"A": 2.3, "B": 4.0}),  # 2.3 > 2.2: speaks, tau(B) = 4.0
        Oracle(perplexity_of={"B": 4.3}),  # 4.3 <= 4.4
        Oracle(perplexity_of={"B": 4.5, "C": 1.0}),  # speaks
    ]
    assert run(trigger, oracles, answers={0: "A", 3: "B", 5: "C"}) == "S..S.S"
    assert [len(oracle.asked) for oracle in oracles] == [1, 1, 1, 2, 1, 2], "one pass a clip"


# ---- silence ----


@pytest.mark.parametrize(
    ("silence", "best_other", "expected"),
    [
        (0.9, 0.1, "."),
        (0.725, 0.2, "."),  # the threshold itself counts
        (0.724, 0.2, "S"),  # likeliest, but below the threshold: taken out
        (0.2, 0.7, "S"),
    ],
)
def test_silence_counts_only_from_its_threshold(
    silence: float, best_other: float, expected: str
) -> None:
    oracle = Oracle(silence_of=(silence, best_other))
    assert run(SilenceTrigger(threshold=0.725), [oracle]) == expected


def test_below_one_half_the_likelier_token_decides() -> None:
    oracles = [Oracle(silence_of=(0.4, 0.5)), Oracle(silence_of=(0.4, 0.3))]
    assert run(SilenceTrigger(threshold=0.3), oracles) == "S."


def test_with_each_silent_clip_silence_has_to_be_surer_until_it_speaks() -> None:
    oracles = [Oracle(silence_of=(0.85, 0.1))] * 9
    # the threshold: .7  .75  .8  .85  .9 -> speaks  .7 ...
    assert run(SilenceTrigger(threshold=0.7, step=0.05), oracles) == "....S...."
    assert run(SilenceTrigger(threshold=0.7), oracles) == "." * 9


def test_a_falling_ramp_holds_a_silence_that_has_begun() -> None:
    oracles = [Oracle(silence_of=(sure, 0.2)) for sure in (0.6, 0.8, 0.6, 0.4, 0.5)]
    # the threshold: .7 -> speaks  .7  .6  .5 -> speaks  .7 -> speaks
    assert run(SilenceTrigger(threshold=0.7, step=-0.1), oracles) == "S..SS"


def test_a_ramp_above_one_speaks_though_the_model_is_certain_of_silence() -> None:
    oracles = [Oracle(silence_of=(1.0, 0.0))] * 4
    assert run(SilenceTrigger(threshold=0.75, step=0.125), oracles) == "...S"


@given(
    chances=st.lists(st.floats(0, 1), max_size=30),
    threshold=st.floats(0, 1),
    step=st.floats(0.05, 1),
)
def test_with_a_rising_ramp_no_silence_outlasts_the_way_to_certainty(
    chances: list[float], threshold: float, step: float
) -> None:
    oracles = [Oracle(silence_of=(chance, 0.0)) for chance in chances]
    found = run(SilenceTrigger(threshold=threshold, step=step), oracles)
    longest = max(len(silence) for silence in found.split("S"))
    assert longest <= (1 - threshold) / step + 1 + 1e-6


# ---- sums and outliers (MMDuet) ----


def test_evidence_adds_up_and_begins_anew_after_speaking() -> None:
    assert run(SumTrigger(threshold=1.0), yes(0.4, 0.5, 0.2, 0.9, 0.05, 0.1)) == "..S..S"


def test_an_outlier_stands_out_of_the_last_twenty() -> None:
    chances = [0.1, 0.3, 0.1, 0.3, 0.45, 0.2]
    # mean 0.2, deviation 0.1 of the first four: 0.45 > 0.2 + 2 x 0.1
    assert run(OutlierTrigger(z=2.0), yes(*chances)) == "....S."


# ---- heads on the hidden state (MMDuet) ----


def heads(*scores: tuple[float, float]) -> list[Oracle]:
    return [Oracle(heads_of={"informative": one, "relevance": two}) for one, two in scores]


def test_each_score_of_heads_above_the_threshold_speaks() -> None:
    trigger = HeadsTrigger(weights={"informative": 1.0}, threshold=0.5, speaks_again=True)
    assert run(trigger, heads((0.4, 1), (0.6, 0), (0.5, 1), (0.7, 0), (0.8, 0))) == ".S.SS"


def test_heads_count_all_alike_where_no_weights_are_given() -> None:
    trigger = HeadsTrigger(weights=None, threshold=1.2, speaks_again=True)
    assert run(trigger, heads((0.6, 0.5), (0.7, 0.6), (0.9, 0.9))) == ".SS"


def test_heads_count_by_their_weights() -> None:
    trigger = HeadsTrigger(weights={"informative": 2.0, "relevance": -1.0}, threshold=0.5)
    #                        0.3          0.9         still on    0.2
    assert run(trigger, heads((0.6, 0.9), (0.5, 0.1), (0.5, 0.1), (0.5, 0.8))) == ".S.."


def test_scores_of_heads_add_up_and_begin_anew_after_speaking() -> None:
    trigger = HeadsTrigger(weights={"informative": 1.0}, rule=RunningSum(1.0))
    scores = (0.4, 0.5, 0.2, 0.9, 0.05, 0.1)
    assert run(trigger, heads(*((score, 0) for score in scores))) == "..S..S"
    assert not trigger.is_on


def test_a_score_of_heads_that_stands_out_speaks() -> None:
    trigger = HeadsTrigger(weights={"informative": 1.0}, rule=OutlierTest(2.0))
    scores = (0.1, 0.3, 0.1, 0.3, 0.45, 0.2)
    assert run(trigger, heads(*((score, 0) for score in scores))) == "....S."


def test_the_confidence_of_heads_is_their_score_from_0_to_1() -> None:
    trigger = HeadsTrigger(weights={"informative": 2.0, "relevance": 1.0})
    (oracle,) = heads((0.9, 0.9))
    decision = asyncio.run(trigger.on_clip(make_clip(0), Signals(1.0), oracle))
    assert decision == Speak(confidence=1.0)


# ---- evidence, interval, chain ----


def test_a_question_is_deferred_until_it_can_be_told() -> None:
    trigger = EvidenceTrigger(not_yet=["can't tell", "^not yet"])
    replies = ["", "I can't tell.", "Not yet", "It is red."]
    assert run(trigger, [Oracle(says=text) for text in replies]) == "dddS"


def test_an_interval_keeps_to_its_grid() -> None:
    trigger = IntervalTrigger(every_s=2.0)
    assert run(trigger, yes(*[0.5] * 6)) == "S.S.S."
    late = IntervalTrigger(every_s=2.0)
    spoken = []
    for at in (0, 1, 5, 6, 7, 8):  # clips 2 to 4 are missing
        if isinstance(asyncio.run(late.on_clip(make_clip(at), Signals(0), Oracle())), Speak):
            spoken.append(at)
    assert spoken == [0, 5, 6, 8]


def test_a_chain_asks_the_dear_trigger_only_where_the_cheap_one_speaks() -> None:
    chain = ChainTrigger([ChangeTrigger(floor=0.1), YesNoTrigger(threshold=0.8)])
    oracles = yes(0.9, 0.9, 0.9, 0.2)
    assert run(chain, oracles, changes=[0.5, 0.0, 0.5, 0.5]) == "S.S."
    assert [oracle.asked for oracle in oracles] == [["margin"], [], ["margin"], ["margin"]]


def test_a_chain_about_a_state_remembers_it_over_still_clips() -> None:
    state = YesNoTrigger(threshold=0.8, about_event=False)
    chain = ChainTrigger([ChangeTrigger(floor=0.1), state])
    assert run(chain, yes(0.9, 0.9, 0.9), changes=[0.5, 0.0, 0.5]) == "S.."


def test_a_chain_makes_up_for_a_lost_check_though_the_picture_rests() -> None:
    state = YesNoTrigger(threshold=0.8, about_event=False)
    chain = ChainTrigger([ChangeTrigger(floor=0.1), state])
    oracles = yes(None, None, 0.9, 0.9)
    assert run(chain, oracles, changes=[0.5, 0.0, 0.0, 0.0]) == "xxS."
    assert [len(oracle.asked) for oracle in oracles] == [1, 1, 1, 0]


def test_a_chain_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ChainTrigger([])


# ---- causality ----

MAKERS: dict[str, Callable[[], Trigger]] = {
    "yes_no": lambda: YesNoTrigger(threshold=0.6),
    "change": lambda: ChangeTrigger(quantile=0.7, window=5, refractory_s=1.5),
    "silence": SilenceTrigger,
    "ramp": lambda: SilenceTrigger(threshold=0.5, step=0.1),
    "sum": lambda: SumTrigger(threshold=1.5),
    "outlier": lambda: OutlierTrigger(z=1.0),
    "heads": lambda: HeadsTrigger(weights=None, threshold=0.6),
    "drift": DriftTrigger,
    "interval": lambda: IntervalTrigger(every_s=2.5),
    "evidence": lambda: EvidenceTrigger(not_yet=["no"]),
    "chain": lambda: ChainTrigger([ChangeTrigger(quantile=0.5), YesNoTrigger(threshold=0.6)]),
}

CLIP = st.tuples(st.floats(0.01, 0.99), st.floats(0, 1), st.sampled_from(["no", "red"]))


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=30)
@given(past=st.lists(CLIP, min_size=1, max_size=12), one=st.lists(CLIP), other=st.lists(CLIP))
def test_what_comes_later_changes_nothing_that_was_decided(
    name: str,
    past: list[tuple[float, float, str]],
    one: list[tuple[float, float, str]],
    other: list[tuple[float, float, str]],
) -> None:
    def decide(clips: list[tuple[float, float, str]]) -> list[Decision]:
        trigger = MAKERS[name]()

        async def all_clips() -> list[Decision]:
            found: list[Decision] = []
            for index, (chance, change, says) in enumerate(clips):
                oracle = Oracle(
                    yes=chance, silence_of=(chance, 1 - chance), says=says,
                    perplexity_of={"A": 1 + chance},
                )  # fmt: skip
                found.append(await trigger.on_clip(make_clip(index), Signals(change), oracle))
                if isinstance(found[-1], Speak):
                    await trigger.spoke("A", oracle)
            return found

        return asyncio.run(all_clips())

    assert decide(past + one)[: len(past)] == decide(past + other)[: len(past)]
    assert not isinstance(decide(past)[0], Defer) or name == "evidence"
