"""For which time an answer's clips stand, and how a model is told."""

from datetime import UTC, datetime

import pytest

from onlooker.core.ids import StreamId
from onlooker.core.media import Cover
from onlooker.engine.interface import AnswerEnd, Evidence, EvidenceSource, FinishReason, Question
from onlooker.engine.memory.evidence import with_evidence
from onlooker.engine.memory.once import shown_once
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.memory.retelling import Retelling, retold, standing
from onlooker.engine.memory.shown import ShownClip, spans_s
from onlooker.engine.memory.stream_memory import Recall
from onlooker.engine.memory.times import Now
from tests.fakes.pictures import make_clip
from tests.unit.engine.memory.test_recall import indices, make_memory, recalled

REMARK, RESTATE = Retelling.REMARK, Retelling.RESTATE
SHOWN = [ShownClip(49.0, 61.0, 49.3), ShownClip(61.0, 61.5, 61.2)]


def test_spans_merge_what_touches_and_keep_gaps() -> None:
    shown = [ShownClip(0.0, 1.0, 0.2), ShownClip(1.0, 1.5, 1.2), ShownClip(5.0, 5.5, 5.2)]
    assert spans_s(shown) == ((0.0, 1.5), (5.0, 5.5))
    assert spans_s([]) == ()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What colour was it at 60 seconds?", "What colour was it at 49.3 seconds?"),
        ("At 1:00, what was there?", "At 49.3 seconds, what was there?"),
        ("Was it red at 50 s and at 55 s?", "Was it red at 49.3 seconds and at 49.3 seconds?"),
        ("What colour was it at 61 seconds?", "What colour was it at 61 seconds?"),
        ("What colour was it at 49 seconds?", "What colour was it at 49 seconds?"),
        ("What colour was it at 49.3 seconds?", "What colour was it at 49.3 seconds?"),
        ("What colour was it at 49.1 seconds?", "What colour was it at 49.3 seconds?"),
        ("What colour was it at 20 seconds?", "What colour was it at 20 seconds?"),
        ("What colour is it now?", "What colour is it now?"),
    ],
)  # fmt: skip
def test_a_model_that_reads_stamps_is_asked_for_that_of_the_clip_which_stands_for_the_time(
    question: str, expected: str
) -> None:
    assert retold(question, Now(62.0), SHOWN, RESTATE) == expected


def test_other_models_are_told_for_how_long_nothing_changed() -> None:
    told = "What colour was it at 60 seconds? (Nothing changed from 49.3 to 61.0 seconds.)"
    assert retold("What colour was it at 60 seconds?", Now(62.0), SHOWN, REMARK) == told
    span = "What was there between 52 and 58 seconds?"
    assert retold(span, Now(62.0), SHOWN, REMARK).endswith("from 49.3 to 61.0 seconds.)")
    for silent in ("What was there at 61 seconds?", "What is there?", "What was it at 9 seconds?"):
        assert retold(silent, Now(62.0), SHOWN, REMARK) == silent


def test_of_two_clips_that_stand_for_a_second_the_longer_one_answers() -> None:
    early, late = ShownClip(0.0, 52.7, 49.0), ShownClip(52.7, 60.0, 53.0)
    assert standing([early, late], (52.0, 53.0)) is early
    assert standing([early, late], (52.6, 53.0)) is late
    assert standing([early], (53.0, 54.0)) is None


# ---- memory


def test_a_named_time_is_shown_from_the_clip_that_stands_for_it() -> None:
    memory = make_memory(50)  # the last from 49.0 to 49.5
    recall, _ = recalled("what colour was it at 60 seconds?", memory, asked_s=61.0)
    assert not recall.placed
    memory.cover([Cover(49, 62.5), Cover(77, 80.0)])
    recall, _ = recalled("what colour was it at 60 seconds?", memory, asked_s=61.0)
    assert indices(recall.placed) == [49]
    assert recall.recent == []
    recall, _ = recalled("what colour was it at 63 seconds?", memory, asked_s=70.0)
    assert not recall.placed


def test_a_cover_ends_where_the_next_clip_begins_and_never_shrinks() -> None:
    memory = make_memory(3)
    memory.cover([Cover(0, 5.0), Cover(1, 1.8), Cover(1, 1.2)])
    assert [clip.until_s for clip in memory.recent(3)] == [1.0, 1.8, 2.5]


def test_a_window_of_seconds_counts_from_where_covers_end() -> None:
    memory = make_memory(50)
    memory.cover([Cover(49, 70.0)])
    recall, _ = recalled("was there ever a star?", memory, asked_s=60.0, recent_s=2.0)
    assert indices(recall.recent) == [49]


# ---- evidence

END = AnswerEnd(FinishReason.STOP, 1, 0, 1)


def waiting_question(text: str, *, asked_s: float, pending_s: float) -> Question:
    pending = make_clip(pending_s, index=50)
    covers = (Cover(49, pending_s), Cover(50, pending_s + 2.0))
    return Question(
        text=text, stream_id=StreamId("s"), asked_s=asked_s, pending=pending, covers=covers
    )


def evidence(question: Question, recall: Recall) -> tuple[Evidence, ...]:
    memory = make_memory(50)
    memory.cover(question.covers)
    once = shown_once(question, None, recall)
    end = with_evidence(
        END,
        RequestReport(),
        recall,
        memory,
        asked_s=question.asked_s,
        once=[one.shown for one in once],
        incomplete=False,
    )
    assert end.clip_spans_s[-1][1] == end.evidence[-1].end_s
    return end.evidence


def test_the_frame_that_waits_is_evidence() -> None:
    memory = make_memory(50)
    question = waiting_question("what is there now?", asked_s=60.2, pending_s=60.0)
    memory.cover(question.covers)
    recall = Recall([], memory.recent(1))
    assert evidence(question, recall) == (Evidence(49.0, 60.2, EvidenceSource.RECENT, "device"),)
    alone = Recall(memory.recent(1), [], is_named=True, alone=((60.0, 60.2),))
    assert [one.source for one in evidence(question, alone)] == ["named", "recent"]


def test_the_frame_that_waits_is_not_shown_beside_another_time() -> None:
    memory = make_memory(50)
    question = waiting_question("what was at 40 seconds?", asked_s=60.2, pending_s=60.0)
    recall = Recall(memory.recent(1), [], is_named=True, alone=((40.0, 41.0),))
    assert shown_once(question, None, recall) == []


def test_evidence_reaches_no_further_than_the_question() -> None:
    memory = make_memory(50)
    memory.cover([Cover(49, 99.0)])
    question = Question(text="what is there?", asked_s=55.0)
    (found,) = evidence(question, Recall([], memory.recent(1)))
    assert (found.start_s, found.end_s) == (49.0, 55.0)


ON_THE_WALL = Now(62.0, datetime(2026, 11, 29, 13, 44, 0, tzinfo=UTC).timestamp(), UTC)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What colour was it at 13:45:00?", "What colour was it at 49.3 seconds?"),
        ("What colour was it at 13:44:49 today?", "What colour was it at 49.3 seconds?"),
        ("Today at 13:44:49, what was there?", "At 49.3 seconds, what was there?"),
        ("What was there on 2026-11-29 at 13:45:01?", "What was there at 61.2 seconds?"),
        ("When did a star last appear today?", "When did a star last appear?"),
    ],
)
def test_a_time_of_the_wall_is_retold_as_the_stamp_that_stands_for_it(
    question: str, expected: str
) -> None:
    assert retold(question, ON_THE_WALL, SHOWN, RESTATE) == expected


def test_other_models_are_told_which_stamps_a_time_of_the_wall_means() -> None:
    told = "What was there at 13:45:01? (At 13:45:01: from 61.0 to 62.0 seconds.)"
    assert retold("What was there at 13:45:01?", ON_THE_WALL, SHOWN, REMARK) == told
