"""Which instructions only say who the model is."""

import pytest

from onlooker.streams.moments.personas import asks_for_nothing


@pytest.mark.parametrize(
    "said",
    [
        "You are a helpful assistant.",
        "You are a helpful, honest AI assistant",
        "You're a security camera assistant that answers questions about my house.",
        "You are a helpful assistant. You watch a live video and answer questions.",
        "You watch a video and answer questions about it.",
    ],
)
def test_who_the_model_is_asks_for_nothing(said: str) -> None:
    assert asks_for_nothing(said)


@pytest.mark.parametrize(
    "said",
    [
        "Answer in German.",
        "You are a helpful assistant. Answer with yes or no.",
        "You are a helpful assistant that answers in one word.",
        "You are a pirate.",
        "You are a helpful assistant who never tells times.",
        'You are an assistant: {"times": []}',
        "You are a helpful assistant. Questions are answered as JSON.",
        "Vous êtes un assistant.",
        "You are a helpful assistant with 3 words",
        "Look at the door.",
    ],
)
def test_what_says_how_to_answer_asks_for_something(said: str) -> None:
    assert not asks_for_nothing(said)
