from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.streams.perception.clips import ClipBuilder
from tests.fakes.pictures import make_clip, make_frame


def make_builder(max_pair_gap_s: float = 0.75) -> ClipBuilder:
    return ClipBuilder(StreamId("s"), max_pair_gap_s=max_pair_gap_s)


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
