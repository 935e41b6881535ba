"""Prompts that begin as the one before them are those that are laid out from the start."""

from typing import Any

import numpy as np
import pytest

from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.prompt import PromptBuilder, SegmentPrompt
from onlooker.engine.memory.window_opening import Sink, WindowOpening
from tests.fakes.memory import make_tokens

SINK: Sink = ("s/sink/1", [7, 8, 9])

CLIPS = [make_tokens(f"s/clip/{i:010d}", num_tokens=4 + i // 3, extent=2) for i in range(8)]


def from_the_start(sink: Sink, clips: list[ClipTokens]) -> PromptBuilder:
    builder = PromptBuilder("salt")
    builder.load_text(*sink)
    for clip in clips:
        builder.load_clip(clip)
    return builder


def saved(builder: PromptBuilder, new: ClipTokens) -> dict[str, Any]:
    """All of the prompt that computes the clip `new` behind `builder`."""
    builder.save_clip(new, "pixels")
    prompt: SegmentPrompt = builder.build()
    positions = prompt.positions
    return {
        "ids": prompt.token_ids,
        "salt": prompt.salt,
        "loads": list(prompt.plan.loads),
        "saves": prompt.plan.saves,
        "stored": prompt.stored,
        "computed": prompt.computed,
        "positions": None if positions is None else np.array(positions).tolist(),
    }


def test_a_window_that_grows_gives_the_prompts_of_one_that_is_laid_out_anew() -> None:
    opening = WindowOpening()
    for count in range(len(CLIPS)):
        grown = opening.prompt(SINK, CLIPS[:count], "salt")
        fresh = from_the_start(SINK, CLIPS[:count])
        assert saved(grown, CLIPS[count]) == saved(fresh, CLIPS[count])


@pytest.mark.parametrize(
    ("sink", "clips"),
    [
        (SINK, CLIPS[2:6]),
        (SINK, CLIPS[:3]),
        (SINK, [CLIPS[0], *CLIPS[2:7]]),
        (SINK, []),
        (("s/sink/2", [7, 8]), CLIPS[:5]),
    ],
    ids=["clips left", "fewer clips", "a clip gone", "no clips", "another sink"],
)
def test_a_window_that_begins_elsewhere_is_laid_out_anew(
    sink: Sink, clips: list[ClipTokens]
) -> None:
    opening = WindowOpening()
    opening.prompt(SINK, CLIPS[:5], "salt")
    found = saved(opening.prompt(sink, clips, "salt"), CLIPS[7])
    assert found == saved(from_the_start(sink, clips), CLIPS[7])


def test_a_prompt_leaves_what_others_begin_with_alone() -> None:
    opening = WindowOpening()
    saved(opening.prompt(SINK, CLIPS[:3], "salt"), CLIPS[3])
    again = saved(opening.prompt(SINK, CLIPS[:3], "salt"), CLIPS[3])
    assert again == saved(from_the_start(SINK, CLIPS[:3]), CLIPS[3])
