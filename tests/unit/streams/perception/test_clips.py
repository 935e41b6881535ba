import itertools
from bisect import bisect_right
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Cover
from onlooker.streams.perception.clips import ClipBuilder
from tests.fakes.pictures import make_clip, make_frame


def make_builder(max_pair_gap_s: float = 0.75, hold_s: float = 2.0) -> ClipBuilder:
    return ClipBuilder(StreamId("s"), max_pair_gap_s=max_pair_gap_s, hold_s=hold_s)


def spans(builder: ClipBuilder, times: list[float], cuts: tuple[float, ...] = ()) -> list[object]:
    clips: list[Clip] = []
    for time_s in times:
        clips += builder.add(make_frame(time_s), is_cut=time_s in cuts)
        builder.note_looked_at(time_s)
    return [(clip.start_s, clip.end_s) for clip in clips]


def test_frames_that_follow_each_other_become_pairs() -> None:
    assert spans(make_builder(), [0.0, 0.5, 1.0, 1.5]) == [(0.0, 0.5), (1.0, 1.5)]


def test_clips_are_numbered_without_gaps() -> None:
    builder = make_builder()
    clips = [
        clip for t in (0.0, 0.5, 1.0, 3.0) for clip in builder.add(make_frame(t), is_cut=False)
    ]
    assert [clip.clip_index for clip in [*clips, *builder.flush()]] == [0, 1, 2]


def test_a_frame_whose_partner_does_not_come_is_repeated() -> None:
    builder = make_builder()
    assert spans(builder, [0.0, 0.5, 1.0, 1.5, 2.0]) == [(0.0, 0.5), (1.0, 1.5)]
    assert builder.pass_time(2.75) == []
    (clip,) = builder.pass_time(2.76)
    assert clip.frames[0] is clip.frames[1]
    assert (clip.start_s, clip.end_s) == (2.0, 2.0)
    assert builder.pending is None


def test_a_slow_source_gets_a_clip_for_each_frame_at_once() -> None:
    builder = make_builder()
    assert spans(builder, [0.0, 1.0, 2.0]) == [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]


def test_frames_that_come_two_at_a_time_become_pairs() -> None:
    builder = make_builder()
    assert spans(builder, [0.0, 5.0]) == [(0.0, 0.0), (5.0, 5.0)]
    builder.set_pairing(max_pair_gap_s=1.8, comes_in_twos=True)
    times = [t + second for t in (20.0, 26.0, 32.0) for second in (0.0, 1.0)]
    assert spans(builder, times) == [(20.0, 21.0), (26.0, 27.0), (32.0, 33.0)]


def test_frames_that_should_come_in_twos_and_do_not_wait_no_longer_than_twice() -> None:
    builder = make_builder()
    builder.set_pairing(max_pair_gap_s=1.8, comes_in_twos=True)
    assert spans(builder, [0.0, 4.0]) == [(0.0, 0.0)]
    assert builder.pending is not None
    assert spans(builder, [8.0, 12.0]) == [(4.0, 4.0), (8.0, 8.0), (12.0, 12.0)]


def test_no_clip_spans_a_cut() -> None:
    assert spans(make_builder(), [0.0, 0.5, 1.0], cuts=(0.5,)) == [(0.0, 0.0), (0.5, 1.0)]


def test_the_pending_frame_is_the_clip_that_it_would_be_alone() -> None:
    builder = make_builder()
    builder.add(make_frame(1.0), is_cut=False)
    pending = builder.pending
    assert pending is not None
    assert (pending.clip_index, pending.start_s, pending.end_s) == (0, 1.0, 1.0)
    (flushed,) = builder.flush()
    assert flushed == pending


def test_a_clip_cut_short_shows_only_what_had_been_captured() -> None:
    clip = make_clip(1.0, 1.5)
    half = clip.until(1.2)
    assert clip.until(1.5) is clip
    assert half is not None
    assert half.frames == (clip.frames[0], clip.frames[0])
    assert clip.until(0.9) is None


# ---- covers


def watched(
    looks: Sequence[tuple[float, bool]], hold_s: float = 2.0
) -> tuple[list[Clip], ClipBuilder]:
    """The clips of a stream of which pictures were looked at. `looks`: the time of each, and
    whether the gate would keep it; what follows a gap is always kept."""
    builder = make_builder(hold_s=hold_s)
    clips: list[Clip] = []
    for time_s, is_kept in looks:
        clips += builder.pass_time(time_s)
        is_new = not clips and builder.pending is None
        if is_kept or is_new or builder.pending is not None or builder.is_after_gap(time_s):
            clips += builder.add(make_frame(time_s), is_cut=False)
        builder.note_looked_at(time_s)
    return clips, builder


def covered(clips: list[Clip], builder: ClipBuilder) -> list[tuple[float, float]]:
    """Of every clip, the pending one among them, from when until when it stands."""
    if builder.pending is not None:
        clips = [*clips, builder.pending]
    known = {cover.clip_index: cover.until_s for cover in builder.covers}
    for clip in clips:
        known.setdefault(clip.clip_index - 1, clip.before_until_s or 0.0)
    return [(clip.start_s, known[clip.clip_index]) for clip in clips]


def test_pictures_that_are_skipped_extend_the_clip_before_them() -> None:
    looks = [(0.0, True), (0.5, True), (1.0, False), (1.5, False), (2.0, True), (2.5, True)]
    assert covered(*watched(looks)) == [(0.0, 2.0), (2.0, 4.5)]


def test_a_gap_belongs_to_no_clip_and_what_follows_it_is_kept() -> None:
    looks = [(0.0, True), (0.5, True), (1.0, False), (9.0, False), (9.5, False)]
    assert covered(*watched(looks)) == [(0.0, 3.0), (9.0, 11.5)]


def test_the_frame_that_waits_ends_the_cover_before_it() -> None:
    looks = [(0.0, True), (0.5, True), (1.0, False), (1.5, True)]
    clips, builder = watched(looks)
    assert builder.pending is not None
    assert covered(clips, builder) == [(0.0, 1.5), (1.5, 3.5)]


def test_a_cover_goes_on_after_a_restart_where_it_was_known_to_reach() -> None:
    builder = make_builder()
    builder.resume(3, None, 10.0)
    assert builder.covers == (Cover(2, 12.0),)
    (clip,) = builder.add(make_frame(60.0), is_cut=False)
    assert (clip.clip_index, clip.before_until_s) == (3, 12.0)


@given(
    gaps=st.lists(st.sampled_from([0.1, 0.5, 0.7, 1.0, 1.9, 2.0, 2.1, 7.0]), max_size=20),
    kept=st.lists(st.booleans(), min_size=21, max_size=21),
    hold_s=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_every_time_that_was_seen_belongs_to_one_clip_and_no_other_time_to_any(
    gaps: list[float], kept: list[bool], hold_s: float
) -> None:
    times = list(itertools.accumulate([0.0, *gaps]))
    clips, builder = watched(list(zip(times, kept, strict=False)), hold_s)
    covers = covered(clips, builder)
    for time_s in (probe / 20 for probe in range(round(times[-1] * 20) + 80)):
        looked_s = times[bisect_right(times, time_s) - 1]
        within_a_clip = any(clip.start_s <= time_s <= clip.end_s for clip in clips)
        is_seen = time_s < looked_s + hold_s or within_a_clip
        owners = [one for one in covers if one[0] <= time_s < one[1]]
        assert len(owners) == is_seen, (time_s, covers)
