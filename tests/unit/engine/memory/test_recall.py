"""Which clips an answer may see, before any model is asked."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from onlooker.cache_store.key import StreamKey
from onlooker.core.errors import ConfigError, EngineFailed
from onlooker.core.ids import StreamId
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.interface import Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.memory.ranking import Ranking
from onlooker.engine.memory.recaller import Recaller, check_layers, retrieval_policy
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.timeline import RememberedClip
from tests.fakes.memory import remembered

NUM_CLIPS = 100
RECENT = 4
RETRIEVED = 3


def make_memory(num_clips: int = NUM_CLIPS, *, longer_from: int = NUM_CLIPS) -> StreamMemory:
    """A clip a second; those from `longer_from` on are a token longer."""
    memory = StreamMemory(StreamKey("m", "default", "s"))
    for index in range(num_clips):
        num_tokens = 10 + (index >= longer_from)
        memory.add(remembered(memory.clip_key(index), index, num_tokens=num_tokens, extent=5))
    return memory


class FirstOnes:
    """A probe that chooses the first candidates, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked_among: list[int] = []
        self.recent: list[int] = []
        self.away: list[list[str]] = []
        """What it has to look into, time by time, and does not find held ready."""
        self.looked_into: list[list[str]] = []

    async def __call__(
        self,
        memory: StreamMemory,
        question: Question,
        recall: Recall,
        *,
        traces: bool = False,
        reads: Sequence[str] = (),
    ) -> RequestReport:
        self.looked_into.append(list(reads))
        if self.away:
            return RequestReport(picked=[[]], away=self.away.pop(0))
        self.asked_among = indices(recall.candidates)
        self.recent = indices(recall.recent)
        keys = [clip.tokens.key for clip in recall.candidates[: recall.num_slots]]
        return RequestReport(picked=[keys], read=dict.fromkeys(keys, ("disk", 1)))


def indices(clips: Iterable[RememberedClip]) -> list[int]:
    return [clip.clip_index for clip in clips]


def recalled(
    text: str,
    memory: StreamMemory | None = None,
    *,
    asked_s: float = 1e6,
    care: Care = NO_CARE,
    asks: bool = False,
    away: Iterable[list[str]] = (),
    **settings: Any,
) -> tuple[Recall, FirstOnes]:
    """The recall of a question, and what the model was asked for it. `away`: what a probe has to
    look into and does not find, time by time."""
    section = MemorySection(recent_clips=RECENT, retrieved_clips=RETRIEVED, **settings)
    probe = FirstOnes()
    probe.away += away
    policy = retrieval_policy(section, None)
    recaller = Recaller(section, policy, recent_clips=RECENT, probe=probe)
    asked = Question(text=text, stream_id=StreamId("s"), asked_s=asked_s, care=care)
    memory = make_memory() if memory is None else memory
    return asyncio.run(recaller.recall(memory, asked, asks=asks)), probe


def test_one_pass_chooses_among_all_that_left_the_window() -> None:
    recall, probe = recalled("was there ever a red circle?")
    assert indices(recall.candidates) == list(range(NUM_CLIPS - RECENT))
    assert indices(recall.recent) == [96, 97, 98, 99]
    assert recall.num_slots == RETRIEVED
    assert probe.asked_among == []


def test_what_is_few_is_shown_without_choosing() -> None:
    recall, _ = recalled("was there ever a red circle?", make_memory(RECENT + 2))
    assert indices(recall.placed) == [0, 1]
    assert not recall.candidates


def test_nothing_later_than_the_question_is_seen() -> None:
    recall, _ = recalled("was there ever a red circle?", asked_s=50.6)
    assert indices(recall.candidates) == list(range(47))
    assert indices(recall.recent) == [47, 48, 49, 50]


def test_clips_of_two_sizes_are_chosen_among_by_asking_first() -> None:
    recall, probe = recalled("was there ever a red circle?", make_memory(longer_from=30))
    assert probe.asked_among == list(range(NUM_CLIPS - RECENT))
    assert probe.recent == [96, 97, 98, 99]
    assert indices(recall.placed) == [0, 1, 2]
    assert set(recall.reads.values()) == {("disk", 1)}


@pytest.mark.parametrize("retrieval", ["auto", "layers"])
def test_where_clips_may_have_to_be_fetched_the_model_is_asked_first(retrieval: str) -> None:
    recall, probe = recalled("was there ever a red circle?", asks=True, retrieval=retrieval)
    assert probe.asked_among == list(range(NUM_CLIPS - RECENT))
    assert (indices(recall.placed), recall.num_slots) == ([0, 1, 2], 0)


def test_a_probe_is_made_again_with_what_it_has_to_look_into() -> None:
    recall, probe = recalled("was there ever?", asks=True, away=[["a", "b"], ["c"]])
    assert probe.looked_into == [[], ["a", "b"], ["c"]]
    assert indices(recall.placed) == [0, 1, 2]


def test_what_was_fetched_and_is_still_away_is_gone() -> None:
    with pytest.raises(EngineFailed, match="gone"):
        recalled("was there ever?", asks=True, away=[["a", "b"], ["b"], ["b"]])


def test_in_one_pass_only_clips_of_the_commonest_size_take_part() -> None:
    memory = make_memory(longer_from=30)
    recall, _ = recalled("was there ever a red circle?", memory, retrieval="layers")
    assert indices(recall.candidates) == list(range(30, NUM_CLIPS - RECENT))


@pytest.mark.parametrize(
    "settings",
    [
        {"retrieval": "probe"},
        {"mass": 0.5},
        {"recency_gate": "scores"},
        {"ranking": Ranking(voting_layers=(2,))},
    ],
    ids=str,
)
def test_what_one_pass_cannot_do_asks_first(settings: dict[str, Any]) -> None:
    recall, probe = recalled("was there ever a red circle?", **settings)
    assert len(probe.asked_among) == NUM_CLIPS - RECENT
    assert indices(recall.placed) == [0, 1, 2]


def test_a_short_time_that_is_named_is_shown_whole_and_alone() -> None:
    recall, _ = recalled("what was there at 12 seconds?")
    assert indices(recall.placed) == [12]
    assert recall.recent == []
    assert recall.is_named


def test_within_a_long_time_that_is_named_the_content_chooses() -> None:
    recall, _ = recalled("was there a red circle in the first 40 seconds?")
    assert indices(recall.candidates) == list(range(40))
    assert recall.recent == []
    assert recall.num_slots == RETRIEVED + RECENT
    assert recall.is_named


def test_a_named_time_is_cut_off_where_the_question_is_asked() -> None:
    recall, _ = recalled("what was there in the last 10 seconds?", asked_s=50.6)
    assert indices(recall.candidates) == list(range(41, 51))


def test_a_named_time_beside_now_keeps_the_window() -> None:
    recall, _ = recalled("is what was there at 12 seconds still there?")
    assert indices(recall.placed) == [12]
    assert indices(recall.recent) == [96, 97, 98, 99]


def test_a_question_about_now_alone_brings_nothing_back() -> None:
    recall, _ = recalled("what is on the left now?")
    assert not recall.placed
    assert not recall.candidates
    assert indices(recall.recent) == [96, 97, 98, 99]
    recall, _ = recalled("what is on the left now?", recency_gate="off")
    assert len(recall.candidates) == NUM_CLIPS - RECENT


def test_the_window_may_be_bounded_in_seconds() -> None:
    recall, _ = recalled("was there ever a red circle?", asked_s=99.9, recent_s=2.0)
    assert indices(recall.recent) == [98, 99]
    assert indices(recall.candidates) == list(range(98))
    recall, _ = recalled("was there ever a red circle?", asked_s=500.0, recent_s=2.0)
    assert indices(recall.recent) == []
    assert indices(recall.candidates) == list(range(NUM_CLIPS))


def test_load_takes_its_share_of_the_memory() -> None:
    recall, _ = recalled("was there ever a red circle?", care=Care(memory_share=0.5))
    assert len(recall.recent) == 2
    assert recall.num_slots == 2


def test_a_layer_that_the_model_does_not_have_cannot_vote() -> None:
    check_layers(Ranking(voting_layers=(0, 4)), 5)
    with pytest.raises(ConfigError, match="layer 5"):
        check_layers(Ranking(voting_layers=(5,)), 5)
