"""Late frames go first."""

import pytest

from onlooker.scheduler.shedding import is_too_late


@pytest.mark.parametrize(
    ("age_s", "ahead_s", "has_newer", "expected"),
    [
        (0.1, 0.5, True, False),
        (2.1, 0.0, False, True),
        (1.0, 1.5, True, True),
        (1.0, 1.5, False, False),  # a prediction alone never blinds a stream
        (0.0, 99.0, False, False),
    ],
)
def test_a_frame_goes_when_it_would_be_seen_late(
    age_s: float, ahead_s: float, has_newer: bool, expected: bool
) -> None:
    late = is_too_late(age_s=age_s, ahead_s=ahead_s, lag_s=2.0, has_newer=has_newer)
    assert late is expected
