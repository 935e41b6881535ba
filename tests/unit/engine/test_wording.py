"""From what a viewer says to the question that a model is asked."""

import pytest

from onlooker.engine.vllm_adapter.gateway.model_folder import find_model
from onlooker.engine.wording import CheckQuestion, Wording

DEMO = find_model("demo", served_name=None).profile.watching


@pytest.mark.parametrize(
    ("condition", "question"),
    [
        ("tell me when a red circle appears", "Is there a red circle?"),
        ("Please let me know as soon as an orange star shows up.", "Is there an orange star?"),
        ("alert me if the Red Circle appears", "Is there a red circle?"),
        ("there is a blue square", "Is there a blue square?"),
        ("when the blue square leaves", "Has a blue square just left?"),
        ("a green cross disappears", "Has a green cross just left?"),
        ("tell me when the sign changes", "Has the sign just changed?"),
        ("the scene changes", "Has the scene just changed?"),
        ("the sign shows 7", "Does the sign show 7?"),
        ("something turns red", "Has something just turned red?"),
        ("Is there a red circle?", "Is there a red circle?"),
    ],
)
def test_the_demo_model_is_asked_in_its_own_words(condition: str, question: str) -> None:
    assert DEMO.question_for(condition).text == question


def test_events_and_states_are_told_apart() -> None:
    assert not DEMO.question_for("a red circle appears").about_event
    assert DEMO.question_for("the sign changes").about_event
    assert DEMO.question_for("Has the sign just changed?").about_event


def test_a_general_model_is_asked_whether_it_is_so() -> None:
    question = Wording().question_for("tell me when somebody rings the bell.")
    assert question == CheckQuestion(
        'Look at the newest frames only. Is this so in them: "somebody rings the bell"? Answer '
        "with one word, yes or no.",
        about_event=False,
    )


def test_how_things_are_may_be_told_from_fewer_clips_than_what_has_happened() -> None:
    state, event = (
        CheckQuestion("Is there a red circle?", about_event=about_event)
        for about_event in (False, True)
    )
    wording = Wording(num_clips=4, num_state_clips=1)
    assert (wording.num_clips_for(state), wording.num_clips_for(event)) == (1, 4)
    assert Wording(num_clips=3).num_clips_for(state) == 3
    assert DEMO.num_clips_for(DEMO.question_for("is there a red circle?")) == 1
