"""A run that was cut off goes on where it was."""

from pathlib import Path

import pytest

from onlooker.benchmarks.adapters.asked import Answered, Pushed, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.benchmark import BENCHMARKS, together
from onlooker.benchmarks.adapters.reply_book import ReplyBook
from onlooker.core.errors import InvalidRequest


def probe(key: str, at_s: float = 1.0) -> VideoProbe:
    return VideoProbe(key=key, at_s=at_s, text="?", form=ReplyForm.OPEN)


def task(*keys: str, start_s: float = 0.0) -> VideoTask:
    return VideoTask(video="v.mp4", start_s=start_s, probes=tuple(probe(key) for key in keys))


def test_what_was_replied_is_read_again_and_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "out" / "one.jsonl"
    first = ReplyBook(path)
    first.add(Answered(probe=probe("a"), reply="red", raw="red.", ttft_ms=3.0))
    again = ReplyBook(path)
    assert not again.lacks(task("a"))
    assert again.lacks(task("a", "b"))
    (found,) = again.answered([task("a", "b")])
    assert (found.probe.key, found.reply, found.ttft_ms) == ("a", "red", 3.0)


def test_what_a_watch_said_is_read_again_with_its_times(tmp_path: Path) -> None:
    watched = VideoProbe(key="w", at_s=9.0, text="?", form=ReplyForm.PUSHED)
    said = (Pushed(1.5, "red"), Pushed(4.0, "blue"))
    ReplyBook(tmp_path / "one.jsonl").add(Answered(probe=watched, reply="red", pushed=said))
    (found,) = ReplyBook(tmp_path / "one.jsonl").answered([VideoTask(video="v", probes=(watched,))])
    assert found.pushed == said


def test_a_watch_that_said_nothing_is_not_left_again(tmp_path: Path) -> None:
    watched = VideoProbe(key="w", at_s=9.0, text="?", form=ReplyForm.PUSHED)
    ReplyBook(tmp_path / "one.jsonl").add(Answered(probe=watched, reply=""))
    again = ReplyBook(tmp_path / "one.jsonl")
    assert not again.lacks(VideoTask(video="v", probes=(watched,)))


def test_a_line_that_was_cut_off_is_asked_again_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    ReplyBook(path).add(Answered(probe=probe("a"), reply="red"))
    with path.open("a") as file:
        file.write('{"key": "b", "rep')
    results = ReplyBook(path)
    assert results.lacks(task("b"))
    results.add(Answered(probe=probe("b"), reply="blue"))
    assert len(ReplyBook(path)) == 2


def test_tasks_on_one_stretch_of_a_video_share_a_stream_in_the_order_of_time() -> None:
    late = VideoTask(video="v", probes=(probe("late", 9.0),))
    early = VideoTask(video="v", probes=(probe("early", 2.0),))
    other = VideoTask(video="v", start_s=1.0, probes=(probe("other", 2.0),))
    found = together([late, other, early])
    assert [[one.key for one in task.probes] for task in found] == [["early", "late"], ["other"]]


@pytest.mark.parametrize("content", ["{", "[1]", '[{"video": 3}]', "7", '"text"'])
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(content)
    with pytest.raises(InvalidRequest, match=name):
        BENCHMARKS[name].tasks(path)
