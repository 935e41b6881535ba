"""Questions of the demo: the truth does not depend on which frames the model was shown."""

import random

from onlooker.clients.python.quiz import Quiz
from onlooker.demo_model.questions import DrawnClip, ask
from onlooker.demo_model.world import World


def test_questions_come_and_are_true_of_the_moment() -> None:
    world = World(7)
    quiz = Quiz(world, 1)
    asked = [(now, quiz.next(float(now))) for now in range(3, 120, 3)]
    questions = [(now, question) for now, question in asked if question is not None]
    assert len(questions) > len(asked) // 2
    assert len({question.family for _, question in questions}) >= 6
    signs = [(now, q) for now, q in questions if q.family == "now_digit"]
    assert signs
    for now, question in signs:
        sign = world.state_at(float(now)).sign
        assert Quiz.is_right(question, "there is no sign" if sign is None else str(sign))
        assert not Quiz.is_right(question, str((sign or 0) + 1))


def test_the_same_seed_asks_the_same() -> None:
    def run(seed: int) -> list[str]:
        quiz = Quiz(World(7), seed)
        return [q.text for now in range(5, 40, 4) if (q := quiz.next(float(now))) is not None]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_any_choice_of_frames_gives_the_same_truth() -> None:
    world, quiz = World(11), Quiz(World(11), 5)
    checked = 0
    for now in range(6, 90, 4):
        question = quiz.next(float(now))
        if question is None or question.family != "now_digit":
            continue
        for lag in (0.0, 0.3, 0.6):
            clip = DrawnClip(now - lag, (now - lag, now - lag))
            again = ask(world, [clip], float(now), random.Random(0), "now_digit")
            assert again is not None
            assert again.answer == question.answer
            checked += 1
    assert checked
