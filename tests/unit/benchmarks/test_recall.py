"""Three held-out hours are compared with the oracle hour by hour; their median counts."""

import pytest

from onlooker.benchmarks.hour import HourQuestion
from onlooker.benchmarks.scenarios.recall import Mark, figures_of
from onlooker.demo_model.answers import DrawnQuestion


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
