"""Whether instructions ask for nothing: they only say who the model is, as chat clients send them.

Such a system prompt ("You are a helpful assistant.") is no reason not to answer from the diary.
Anything else may say how to answer, in which language, form or tone, which only the model can
follow. So the rule is narrow: all words must be known to ask for nothing.
"""

import re

_BEGINS = re.compile(r"^\s*you\s*(?:are|'re|\u2019re|watch|answer)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = re.compile(r"[^\w\s.,'\u2019-]|\d|_")

_SAYS_WHO = frozenset(
    _WORD.findall(
        "a about accurate ai an and answer answering answers are artificial assistant at bot "
        "camera cameras can chatbot feed feeds footage for harmless helpful helps home honest "
        "house i intelligence intelligent is it knowledgeable language large live look looking "
        "looks me model monitor monitoring monitors multimodal my of office on our question "
        "questions re reliable security see sees shop smart stream streams surveillance that the "
        "their them to trusted useful user users video videos vision visual watch watches "
        "watching what which who with you your"
    )
)


def asks_for_nothing(instructions: str) -> bool:
    """Whether `instructions` only say who the model is."""
    sentences = [part for part in re.split(r"[.\n]+", instructions) if part.strip()]
    if _MARKS.search(instructions) or not all(_BEGINS.match(one) for one in sentences):
        return False
    return all(word in _SAYS_WHO for word in _WORD.findall(instructions.lower()))
