from onlooker.streams.quality.pace import MIN_FPS, PaceAdvisor


def make_advisor() -> PaceAdvisor:
    return PaceAdvisor(fps=2.0, width=224, height=224, max_lag_s=4.0)


def test_lag_halves_the_wish_step_by_step_but_not_to_nothing() -> None:
    advisor = make_advisor()
    changes = [advisor.note_lag(3.0, now_s / 2) for now_s in range(100)]
    assert [change.fps for change in changes if change] == [1.0, 0.5, MIN_FPS]


def test_one_step_gets_time_to_work() -> None:
    advisor = make_advisor()
    assert advisor.note_lag(3.0, 0.0) is not None
    assert advisor.note_lag(3.0, 1.0) is None
    assert advisor.note_lag(3.0, 3.0) is not None


def test_the_wish_comes_back_slowly_when_lag_is_gone() -> None:
    advisor = make_advisor()
    advisor.note_lag(3.0, 0.0)
    changes = [(now_s, advisor.note_lag(0.1, now_s)) for now_s in range(1, 60)]
    assert [(now_s, change.fps) for now_s, change in changes if change] == [(10, 1.5), (20, 2.0)]


def test_small_lag_changes_nothing() -> None:
    advisor = make_advisor()
    assert [advisor.note_lag(1.5, now_s) for now_s in range(50)] == [None] * 50
