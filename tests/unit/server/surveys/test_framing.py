"""What a question to several streams is to each of them."""

import pytest

from onlooker.engine.wording import DEFAULT_WORDING, Wording, WordingRule
from onlooker.server.surveys.framing import framed


@pytest.mark.parametrize(
    ("question", "form", "asked"),
    [
        ("Which camera sees the red car?", "which", "Is there a red car?"),
        ("which cameras have seen an orange ball", "which", "Have you seen an orange ball?"),
        ("On which camera is there a dog?", "which", "Is there a dog?"),
        ("Which camera shows a red circle now?", "which", "Is there a red circle?"),
        ("Which of the cameras saw the van on?", "which", "Have you seen a van?"),
        ("Which camera saw the van today?", "which", "Have you seen a van today?"),
        ("Is anybody anywhere?", "any", "Is anybody there?"),
        ("Is there a red circle anywhere?", "any", "Is there a red circle?"),
        ("Was there a parcel on any camera today?", "any", "Was there a parcel today?"),
        ("Is the door open?", "any", "Is the door open?"),
        ("What is happening?", "each", "What is happening?"),
        ("How many people are there?", "each", "How many people are there?"),
    ],
)  # fmt: skip
def test_a_question_is_put_to_each_stream_as_it_can_answer_it(
    question: str, form: str, asked: str
) -> None:
    found = framed(question, DEFAULT_WORDING)
    assert (found.form, found.text) == (form, asked)


def test_what_only_all_cameras_together_could_say_is_asked_of_each_as_yes_or_no() -> None:
    found = framed("Which camera is broken?", DEFAULT_WORDING)
    assert found.text.startswith("Which camera is broken? Answer for this camera alone: begin with")


def test_the_model_is_asked_in_the_words_that_it_knows() -> None:
    wording = Wording(rules=(WordingRule("there is (?:an?) (.+)", "Do you see a {1}?"),))
    assert framed("Which camera shows the owl?", wording).text == "Do you see an owl?"


@pytest.mark.parametrize(
    "question", ["", "?", "which camera", "Which camera ?", "anywhere", "a" * 9000]
)
def test_any_text_is_some_question(question: str) -> None:
    assert framed(question, DEFAULT_WORDING).form in ("which", "any", "each")


@pytest.mark.parametrize(
    ("question", "is_now"),
    [
        ("Which camera sees the red car?", True),
        ("Which camera saw the red car?", False),
        ("Is anybody anywhere?", True),
        ("Is there a van on any camera between 5 and 10 minutes ago?", False),
        ("Was anybody anywhere?", False),
        ("What is happening?", False),
    ],
)
def test_a_question_about_now_rests_on_what_was_seen_last(question: str, is_now: bool) -> None:
    assert framed(question, DEFAULT_WORDING).is_now is is_now
