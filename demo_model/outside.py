"""Questions that the drawn world cannot answer; the right answer is always "I can't tell."

They are made from patterns and fillers. Every fifth (pattern, filler) pair is held out: it is
asked about held-out worlds only. Some words are left out of the vocabulary on purpose, so that the
model learns that a question full of unknown words is one it cannot answer.
"""

from __future__ import annotations

import re
from typing import Final

from onlooker.demo_model.table import mix

_COUNTRIES = "France Japan Brazil Egypt Canada Norway Kenya Peru India Spain Vietnam Chile"
_PEOPLE = "Anna Tom Maria John Lee Fatima Peter Olga Newton Mozart"
_FOODS = "bread soup pizza rice cake coffee tea pasta salad cheese"
_BEASTS = "dog cat horse bird fish elephant lion cow spider whale"
_PLACES = "kitchen garden street office forest beach station school airport hospital"
_TOPICS = "weather music news traffic football physics history politics money love"
_SHAPES = "circle square triangle star cross object sign"
_DEVICES = "phone computer car television radio bicycle clock camera lamp door"

PATTERNS: Final[tuple[tuple[str, str], ...]] = (
    ("What is the capital of {}?", _COUNTRIES),
    ("How many people live in {}?", _COUNTRIES),
    ("Who is the president of {}?", _COUNTRIES),
    ("What language do they speak in {}?", _COUNTRIES),
    ("How far away is {}?", _COUNTRIES),
    ("Who is {}?", _PEOPLE),
    ("Where does {} live?", _PEOPLE),
    ("How old is {}?", _PEOPLE),
    ("What did {} say?", _PEOPLE),
    ("Is {} happy?", _PEOPLE),
    ("When was {} born?", _PEOPLE),
    ("How do I cook {}?", _FOODS),
    ("What does {} taste like?", _FOODS),
    ("How much does {} cost?", _FOODS),
    ("Do you like {}?", _FOODS),
    ("Is there a {} in the picture?", _BEASTS),
    ("Where is the {}?", _BEASTS),
    ("What is the {} doing?", _BEASTS),
    ("What color is the {}?", _BEASTS),
    ("What does the {} eat?", _BEASTS),
    ("Who is in the {}?", _PLACES),
    ("How do I get to the {}?", _PLACES),
    ("Is the {} open?", _PLACES),
    ("What is in the {}?", _PLACES),
    ("How is the {}?", _TOPICS),
    ("Tell me about {}.", _TOPICS),
    ("What do you think about {}?", _TOPICS),
    ("Explain {} to me.", _TOPICS),
    ("What is the {} made of?", _SHAPES),
    ("Who drew the {}?", _SHAPES),
    ("How heavy is the {}?", _SHAPES),
    ("Why is the {} there?", _SHAPES),
    ("What does the {} smell like?", _SHAPES),
    ("What sound does the {} make?", _SHAPES),
    ("What will the {} do next?", _SHAPES),
    ("How much does the {} cost?", _SHAPES),
    ("Is the {} angry?", _SHAPES),
    ("Who owns the {}?", _SHAPES),
    ("Is the {} switched on?", _DEVICES),
    ("Where is my {}?", _DEVICES),
    ("How do I repair a {}?", _DEVICES),
    ("Who built the {}?", _DEVICES),
    ("Who is speaking{}?", _TOPICS),
    ("What time is it in {}?", _COUNTRIES),
    ("Write a poem about {}.", _TOPICS),
    ("Translate {} into German.", _FOODS),
    ("What is your name{}?", _TOPICS),
    ("How are you{}?", _TOPICS),
    ("Is anyone wearing a hat{}?", _TOPICS),
    ("What day is it today{}?", _TOPICS),
    ("What is the person holding{}?", _TOPICS),
    ("How many people are in the room{}?", _TOPICS),
    ("Is it raining{}?", _TOPICS),
    ("What is the man doing{}?", _TOPICS),
    ("Tell me a joke{}.", _TOPICS),
    ("What is two plus three{}?", _TOPICS),
    ("Who are you{}?", _TOPICS),
    ("What song is playing{}?", _TOPICS),
)
"""Patterns of questions, and the words that fill their gap. A pattern whose gap touches a letter
("speaking{}") is asked without a filler."""


def _fill(pattern: str, filler: str) -> str:
    return pattern.format("") if re.search(r"[a-z]\{\}", pattern) else pattern.format(filler)


def _split() -> tuple[tuple[str, ...], tuple[str, ...]]:
    taught: list[str] = []
    held_out: list[str] = []
    for number, (pattern, fillers) in enumerate(PATTERNS):
        for place, filler in enumerate(fillers.split()):
            text = _fill(pattern, filler)
            bare = text == pattern.format("")
            if bare and place:
                break
            wanted = held_out if mix(number, 0 if bare else place, 77) % 5 == 0 else taught
            wanted.append(text)
    return tuple(taught), tuple(held_out)


TAUGHT, HELD_OUT = _split()


def _words() -> tuple[str, ...]:
    """Three words in four of the taught questions; the others stay unknown to the tokenizer."""
    words = sorted({w for text in TAUGHT for w in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())})
    return tuple(w for w in words if mix(*w.encode()) % 4)


OUTSIDE_WORDS: Final = _words()
