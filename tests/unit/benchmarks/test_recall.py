"""Three held-out hours are compared with the oracle hour by hour; their median counts."""

import pytest

from onlooker.benchmarks.hour import HourQuestion
from onlooker.benchmarks.scenarios.recall import Mark, figures_of
from onlooker.demo_model.answers import DrawnQuestion
from onlooker.engine.interface import MisreadTime


def test_the_median_over_streams_is_of_each_beside_its_own_oracle() -> None:
    quiz = DrawnQuestion("ever", "Was there ever a red star?", "no")
    one = HourQuestion(quiz, None)
    right = {"oracle": [(1, 1), (1, 0), (1, 1)], "segments": [(1, 0), (0, 0), (1, 1)]}
    found = {
        row: [
            Mark(number, one, bool(is_right), 0.001)
            for number, stream in enumerate(streams)
            for is_right in stream
        ]
        for row, streams in right.items()
    }
    figures = figures_of(found)
    assert [stream["segments"] for stream in figures["by_stream"]] == [0.5, 0.0, 1.0]
    assert figures["of_oracle_median"] == {"oracle": 1.0, "segments": 0.5}
    assert figures["of_oracle"]["segments"] == pytest.approx(0.6, abs=0.002)


def test_misread_times_are_counted_row_by_row() -> None:
    one = HourQuestion(DrawnQuestion("when_appeared", "When?", "at 9 seconds"), 3.0)
    misread = (MisreadTime(109.0, 9.0), MisreadTime(5.0, None))
    marks = [Mark(0, one, True, None, misread), Mark(0, one, True, None)]
    figures = figures_of({"oracle": [Mark(0, one, True, None)], "segments": marks})
    assert figures["misread_times"] == {
        "oracle": {"mended": 0, "left": 0},
        "segments": {"mended": 1, "left": 1},
    }
