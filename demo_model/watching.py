"""How the demo model wants to be asked on behalf of watches: the section ``watching`` of its
``onlooker.json`` (see `onlooker.engine.wording.Wording`).

Thresholds are the middle of the best range on validation worlds. "A red circle appears" is asked
as "Is there a red circle?", whose answer becomes yes: this model tells what is there better than
what has just come.
"""

from __future__ import annotations

from typing import Any, Final

from onlooker.demo_model.answers import SILENCE

_COLOR: Final = {"color": "{1}"}
_SIGN: Final = {"region": [0.68, 0.0, 1.0, 0.34]}
"""The sign hangs in the top right corner, and nothing moves through it."""

_RULES: Final[tuple[tuple[str, str, bool, float, dict[str, Any]], ...]] = (
    (
        r"(?:an?|the) (\w+ \w+) (?:appears?|comes in|shows up|arrives|is there)",
        "Is there a {1}?",
        False,
        0.41,
        _COLOR,
    ),
    (r"there is (?:an?|the) (\w+ \w+)", "Is there a {1}?", False, 0.41, _COLOR),
    (
        r"(?:an?|the) (\w+ \w+) (?:leaves|disappears|goes|goes away|is gone)",
        "Has a {1} just left?",
        True,
        0.99,
        _COLOR,
    ),
    (r"the sign (?:changes|shows something else)", "Has the sign just changed?", True, 0.52, _SIGN),
    (
        r"the (?:scene|picture) changes|there is a cut",
        "Has the scene just changed?",
        True,
        0.7,
        {"cut": True},
    ),
    (r"the sign (?:shows|says) (\d)", "Does the sign show {1}?", False, 0.49, _SIGN),
    (
        r"(?:something|anything|an object) turns (\w+)",
        "Has something just turned {1}?",
        True,
        0.98,
        _COLOR,
    ),
)

WATCHING: Final[dict[str, Any]] = {
    "commentary": "What just changed?",
    "scene": "What do you see?",
    "summary": None,
    "silence": [SILENCE],
    "silence_threshold": 0.9,
    "gates_by_silence": True,
    "deferred": "{question}",
    "not_yet": ["can't tell", r"^there is no\b", r"^never\b", r"^nothing\b", r"^no\b"],
    "yes": ["yes"],
    "no": ["no"],
    "threshold": 0.3,
    "num_clips": 4,
    "num_state_clips": 1,
    "rules": [
        {
            "pattern": pattern,
            "question": question,
            "about_event": about_event,
            "threshold": threshold,
            "needs": needs,
        }
        for pattern, question, about_event, threshold, needs in _RULES
    ],
}
