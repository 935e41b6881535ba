"""Which tokens of a clip a right answer has to read: some heads are taught to look at them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.dataset import VIDEO_TOKENS
from onlooker.demo_model.training.changes import (
    PLACE_CELLS,
    Lessons,
    cell_bits,
    named_cells,
)
from onlooker.demo_model.training.contexts import Branch, Context
from onlooker.demo_model.training.vision import SIGN_CELL

Bools = NDArray[np.bool_]


def pointed_tokens(
    context: Context, branch: Branch, evidence: int, lessons: Lessons
) -> tuple[int, Bools]:
    """The index of the computed clip to look at for one evidence clip, and which of its tokens.

    The tokens are bool[10]: the nine cells and the clip's last token. What was seen last is looked
    for in the clip that no longer shows it (see `changes.py`).
    """
    question, viewed = branch.question, context.viewed
    clip = int(viewed[evidence])
    cells = named(context, clip, question.text, lessons)
    after = evidence + 1 < branch.seen and int(viewed[evidence + 1]) == clip + 1
    if question.family == "last_seen" and after and cells is not None and cells.any():
        return clip + 1, np.append(cells, False)
    if cells is not None and not cells.any() and clip > 0:
        cells = named(context, clip - 1, question.text, lessons)
    if cells is None and question.family.endswith("_count"):
        return clip, np.arange(VIDEO_TOKENS + 1) == VIDEO_TOKENS
    if cells is None:
        row = int(context.rows[clip])
        narrated = question.family == "narrate"
        shows = lessons.changed if narrated else lessons.occupied
        cells = shows(context.timeline, row)
    if not cells.any():
        return clip, np.ones(VIDEO_TOKENS + 1, np.bool_)
    return clip, np.append(cells, False)


def named(context: Context, clip: int, text: str, lessons: Lessons) -> Bools | None:
    return named_cells(text, lessons.content(context.timeline, int(context.rows[clip])))


def counted_tokens(
    context: Context, branch: Branch, evidence: int, lessons: Lessons
) -> tuple[int, Bools]:
    """The clip and tokens to look at (see `pointed_tokens`) for a question that counts.

    There is one token for each thing that this clip adds. When attention lies alike on these and on
    one token that is always there, the share of that one tells how many they are.
    """
    text, viewed = branch.question.text.lower(), context.viewed
    clip = int(viewed[evidence])
    tokens = np.zeros(VIDEO_TOKENS + 1, np.bool_)
    if "sign" in text or "scene" in text:
        tokens[SIGN_CELL if "sign" in text else PLACE_CELLS["middle"]] = True
        return clip, tokens
    rows = context.rows[viewed[: evidence + 1]]
    cells = named(context, clip, text, lessons)
    aspect = 0 if cells is not None else 2 if "shapes" in text else 1
    bits = cell_bits(lessons.content(context.timeline, int(rows[-1])))[:, aspect]
    known = 0
    if branch.question.family == "how_many_so_far":
        known = lessons.shown(context.timeline, rows[:-1])[aspect]
    for cell in np.nonzero(bits if cells is None else bits * cells)[0]:
        tokens[cell] = bool(bits[cell] & ~known)
        known |= bits[cell]
    if not tokens.any():  # it is unclear in which cell the thing is
        tokens[VIDEO_TOKENS] = True
    return clip, tokens
