"""The words of the drawn world: how questions are phrased, and what every answer can contain.

Placeholders: {ref} an object ("the red circle"), {at} a moment ("at 12 seconds"), {thing} an
object of some kind ("a red circle"), {place} ("on the left"), {color}, {plural} ("circles").
"""

from __future__ import annotations

import re
from typing import Final

from onlooker.demo_model.answers import CANNOT_TELL, NUMBER_WORDS
from onlooker.demo_model.outside import OUTSIDE_WORDS
from onlooker.demo_model.table import COLORS, SHAPES

PLACE_PHRASES: Final = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
PLURALS: Final = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
}
OBJECT_NOUNS: Final = ("object", "shape", "one", "thing")
AT_FORMS: Final = ("at {t} seconds", "at {t} seconds", "at {t} seconds", "{t} seconds in")

PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "now_color": (
        "What color is {ref}?",
        "What colour is {ref}?",
        "What is the color of {ref}?",
        "Which color does {ref} have?",
        "What color is {ref} now?",
        "Tell me the colour of {ref}.",
    ),
    "now_shape": (
        "What shape is {ref}?",
        "What is the shape of {ref}?",
        "Which shape is {ref}?",
        "What shape does {ref} have?",
        "What shape is {ref} now?",
        "Tell me the shape of {ref}.",
    ),
    "now_place": (
        "Where is {ref}?",
        "Where is {ref} now?",
        "Where do you see {ref}?",
        "In which place is {ref}?",
        "Tell me where {ref} is.",
        "Where can I find {ref}?",
    ),
    "now_what": (
        "What is {place}?",
        "What do you see {place}?",
        "Which object is {place}?",
        "What is {place} now?",
        "Tell me what is {place}.",
    ),
    "now_list": (
        "What do you see?",
        "What can you see?",
        "Which objects are there?",
        "What is in the picture?",
        "Describe what you see now.",
        "What is there now?",
    ),
    "now_count": (
        "How many objects are there?",
        "How many objects do you see?",
        "How many shapes are there now?",
        "How many things can you see?",
        "Count the objects.",
    ),
    "now_count_of": (
        "How many {plural} are there?",
        "How many {plural} do you see?",
        "How many {plural} are there now?",
        "How many {plural} can you see?",
        "Count the {plural}.",
    ),
    "now_digit": (
        "What number is on the sign?",
        "Which digit is on the sign?",
        "What does the sign say?",
        "What does the sign show?",
        "Read the sign.",
        "What number does the sign show now?",
    ),
    "now_moving": (
        "Is {ref} moving?",
        "Is {ref} moving now?",
        "Does {ref} move?",
        "Do you see {ref} moving?",
        "Is {ref} in motion?",
    ),
    "now_mover": (
        "What is moving?",
        "What is moving now?",
        "Which object is moving?",
        "What moves?",
        "Tell me what is moving.",
    ),
    "now_exists": (
        "Is there {thing}?",
        "Is there {thing} now?",
        "Do you see {thing}?",
        "Can you see {thing}?",
        "Is {thing} in the picture?",
    ),
    "at_time_color": (
        "What color was {ref} {at}?",
        "What colour was {ref} {at}?",
        "What was the color of {ref} {at}?",
        "Which color did {ref} have {at}?",
        "{at}, what color was {ref}?",
    ),
    "at_time_shape": (
        "What shape was {ref} {at}?",
        "What was the shape of {ref} {at}?",
        "Which shape did {ref} have {at}?",
        "Which shape was {ref} {at}?",
        "{at}, what shape was {ref}?",
    ),
    "at_time_place": (
        "Where was {ref} {at}?",
        "In which place was {ref} {at}?",
        "Where did you see {ref} {at}?",
        "Tell me where {ref} was {at}.",
        "{at}, where was {ref}?",
    ),
    "at_time_digit": (
        "What number was on the sign {at}?",
        "Which digit was on the sign {at}?",
        "What did the sign say {at}?",
        "What did the sign show {at}?",
        "{at}, what number was on the sign?",
    ),
    "at_time_count": (
        "How many objects were there {at}?",
        "How many objects did you see {at}?",
        "How many shapes were there {at}?",
        "How many things could you see {at}?",
        "{at}, how many objects were there?",
    ),
    "first_seen": (
        "When did you first see {thing}?",
        "When was {thing} first there?",
        "When did you see {thing} for the first time?",
        "At what time did you first see {thing}?",
        "When was the first time you saw {thing}?",
    ),
    "last_seen": (
        "When did you last see {thing}?",
        "When was {thing} last there?",
        "When did you see {thing} for the last time?",
        "At what time did you last see {thing}?",
        "When was the last time you saw {thing}?",
    ),
    "first_digit": (
        "When did the sign first show {digit}?",
        "When did you first see {digit} on the sign?",
        "When was {digit} first on the sign?",
        "At what time did the sign first show {digit}?",
        "When was the first time the sign showed {digit}?",
    ),
    "last_digit": (
        "When did the sign last show {digit}?",
        "When did you last see {digit} on the sign?",
        "When was {digit} last on the sign?",
        "At what time did the sign last show {digit}?",
        "When was the last time the sign showed {digit}?",
    ),
    "when_appeared": (
        "When did {thing} appear?",
        "When did the {kind} appear?",
        "When did the {kind} come in?",
        "At what time did {thing} appear?",
        "At what time did the {kind} show up?",
    ),
    "when_left": (
        "When did the {kind} leave?",
        "When did the {kind} disappear?",
        "At what time did the {kind} leave?",
        "When was the {kind} gone?",
        "At what time did the {kind} disappear?",
    ),
    "when_sign": (
        "When did the sign change to {digit}?",
        "At what time did the sign change to {digit}?",
        "When did the sign turn to {digit}?",
        "When did {digit} appear on the sign?",
        "At what time did {digit} appear on the sign?",
    ),
    "when_cut": (
        "When did the scene change?",
        "At what time did the scene change?",
        "When was there a new scene?",
        "When was the cut?",
        "At what time did the picture change?",
    ),
    "ever": (
        "Was there ever {thing}?",
        "Have you ever seen {thing}?",
        "Did you ever see {thing}?",
        "Have you seen {thing}?",
        "Has there been {thing}?",
        "Did {thing} ever appear?",
    ),
    "ever_digit": (
        "Did the sign ever show {digit}?",
        "Was {digit} ever on the sign?",
        "Have you seen {digit} on the sign?",
        "Has the sign shown {digit}?",
        "Did you ever see {digit} on the sign?",
    ),
    "times_sign": (
        "How many times did the sign change?",
        "How often did the sign change?",
        "How many times has the sign changed?",
        "How often has the sign changed so far?",
        "Count the changes of the sign.",
    ),
    "times_cut": (
        "How many times did the scene change?",
        "How often did the scene change?",
        "How many times has the scene changed?",
        "How often has the scene changed so far?",
        "Count the changes of the scene.",
    ),
    "times_appeared": (
        "How many times did {thing} appear?",
        "How often did {thing} appear?",
        "How many times has {thing} appeared?",
        "How often has {thing} appeared so far?",
        "How many times did you see {thing} appear?",
    ),
    "many_shapes": (
        "How many different shapes have you seen so far?",
        "How many different shapes have you seen?",
        "How many different shapes did you see?",
        "How many different shapes were there so far?",
        "Count the different shapes so far.",
    ),
    "many_colors": (
        "How many different colors have you seen so far?",
        "How many different colors have you seen?",
        "How many different colours did you see?",
        "How many different colors were there so far?",
        "Count the different colors so far.",
    ),
    "many_of": (
        "How many different {plural} have you seen so far?",
        "How many different {plural} have you seen?",
        "How many different {plural} did you see?",
        "How many different {plural} were there so far?",
        "Count the different {plural} so far.",
    ),
    "check_appeared": (
        "Has {thing} just appeared?",
        "Did {thing} just appear?",
        "Has {thing} appeared just now?",
        "Did {thing} appear right now?",
        "Has {thing} just come in?",
    ),
    "check_left": (
        "Has {thing} just left?",
        "Did {thing} just leave?",
        "Has {thing} disappeared just now?",
        "Did {thing} just disappear?",
        "Has {thing} just gone?",
    ),
    "check_sign": (
        "Has the sign just changed?",
        "Did the sign just change?",
        "Has the sign changed just now?",
        "Did the sign change right now?",
        "Is the sign different now?",
    ),
    "check_cut": (
        "Has the scene just changed?",
        "Did the scene just change?",
        "Has the scene changed just now?",
        "Was there just a cut?",
        "Is this a new scene?",
    ),
    "check_digit": (
        "Does the sign show {digit}?",
        "Does the sign show {digit} now?",
        "Is {digit} on the sign?",
        "Does the sign say {digit}?",
        "Do you see {digit} on the sign?",
    ),
    "check_turned": (
        "Has something just turned {color}?",
        "Did something just turn {color}?",
        "Has an object just turned {color}?",
        "Did an object just become {color}?",
        "Has anything turned {color} just now?",
    ),
    "narrate": (
        "What just changed?",
        "What has just changed?",
        "What changed just now?",
        "What just happened?",
        "Tell me what just changed.",
        "Describe what just happened.",
    ),
    "follow_color": (
        "And what color {be} it?",
        "What color {be} it?",
        "And what colour {be} it?",
        "And its color?",
        "And the color?",
    ),
    "follow_shape": (
        "And what shape {be} it?",
        "What shape {be} it?",
        "And which shape {be} it?",
        "And its shape?",
        "And the shape?",
    ),
    "follow_place": (
        "And where {be} it?",
        "Where {be} it?",
        "And in which place {be} it?",
        "And its place?",
        "And the place?",
    ),
    "follow_digit": (
        "And what did the sign show then?",
        "What did the sign show then?",
        "And which digit was on the sign then?",
        "And what number was on the sign then?",
        "And the sign?",
    ),
}

SENTENCES: Final = (
    "{thing} appeared.",
    "The {kind} left.",
    "The {kind} turned {color}.",
    "The {kind} started moving.",
    "The {kind} stopped.",
    "The sign now shows {digit}.",
    "The sign went away.",
    "The scene changed.",
    "there is no {kind}",
    "there is no sign",
    "yes no never nothing none on at in the and a an something",
    CANNOT_TELL,
)

SYSTEM_PROMPTS: Final = (
    "You watch a video and answer questions about it.",
    "You are a helpful assistant.",
)


def a(kind: str) -> str:
    """The kind with its article: "an orange star"."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def vocabulary() -> list[str]:
    """Every word and punctuation mark of questions and answers, lower-case and sorted."""
    texts = [t for group in PHRASES.values() for t in group]
    texts += [*SENTENCES, *SYSTEM_PROMPTS, *AT_FORMS, *PLACE_PHRASES, *PLACE_PHRASES.values()]
    texts += [*PLURALS.values(), *COLORS, *SHAPES, *OBJECT_NOUNS, *NUMBER_WORDS, "zero is was"]
    texts += ["object objects shape shapes thing things one ones", *OUTSIDE_WORDS]
    plain = re.sub(r"\{[^}]*\}", " ", " ".join(texts)).lower()
    return sorted({*re.findall(r"[a-z]+(?:'[a-z]+)?|[.,?!]", plain), *"0123456789"})
