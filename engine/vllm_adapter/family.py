"""`Family`: what differs between the families of models that are served.

A family is an entry in `FAMILIES`. To give one stream memory, write a guarded class for it
(`segments/model.py`), name that class in `plugin.ARCHITECTURES` and here, and run the tests of
`tests/vllm/test_qwen2_5.py` with a small model of it. Everything else is read from the running
model's config: its special tokens, its patches, how its rotary axes are laid out.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """One family. Its clips are video items of two frames, placed by the model's chat template."""

    architecture: str
    """As the config of a model says it."""

    guarded: str | None
    """The name of our guarded class of it; None: it is served without stream memory."""

    stamps_clips: bool
    """Whether its processor writes the time of each temporal patch before the patch, as text.

    Then all patches stand at one place in time. Where it does not, the patches of a clip follow
    each other on the time axis, and the prompt writes the clip's time, as nothing else tells it.
    """

    frame_width: int = 512
    """Pixels to which frames are brought where the model's profile says nothing else."""

    frame_height: int = 384
    """See `frame_width`. Whole numbers of tokens, so that the processor has nothing to resize."""


_KNOWN = (
    Family("Qwen3VLForConditionalGeneration", "OnlookerQwen3VL", stamps_clips=True),
    Family("Qwen3VLMoeForConditionalGeneration", None, stamps_clips=True),
    Family(
        "Qwen2_5_VLForConditionalGeneration", "OnlookerQwen25VL", stamps_clips=False,
        frame_width=448, frame_height=336,
    ),
    Family(
        "Qwen2VLForConditionalGeneration", None, stamps_clips=False,
        frame_width=448, frame_height=336,
    ),
)  # fmt: skip

FAMILIES = {family.architecture: family for family in _KNOWN}
"""By architecture. A token is 32 x 32 pixels in Qwen3-VL and 28 x 28 in those before."""

WITH_MEMORY = tuple(family.architecture for family in _KNOWN if family.guarded is not None)
"""Architectures that stream memory knows."""
