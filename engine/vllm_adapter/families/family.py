"""`Family`: what differs between the families of models that are served.

A file of this folder declares one family, or several that share it, in a tuple named ``FAMILIES``.
Everything else is read from the running model's config: its special tokens, its patches, how its
rotary axes are laid out. Nothing here imports vLLM, so that a model can be checked before the slow
start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onlooker.engine.memory.rotary_layout import RotaryLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedClass:
    """The model class that stream memory needs of a family, and what of vLLM's it is made of."""

    name: str
    """Under which vLLM loads it: an architecture of ours."""
    module: str
    """vLLM's module of the family."""
    model: str
    """vLLM's model class there."""
    processor: str
    processing_info: str
    dummy_inputs: str
    """vLLM's three classes that prepare the model's inputs."""
    num_levels: Callable[[Any], int] = lambda model: 1
    """Of a loaded model, how many embeddings of a token its vision tower puts side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. Its clips are video items of two frames, placed by the model's chat template."""

    architecture: str
    """As the config of a model says it."""

    guarded: GuardedClass | None = None
    """None: it is served without stream memory."""

    stamps_clips: bool
    """Whether its processor writes the time of each temporal patch before the patch, as text.

    Then all patches stand at one place in time. Where it does not, the patches of a clip follow
    each other on the time axis, and the prompt writes the clip's time, as nothing else tells it.
    """

    frame_width: int
    """Pixels to which frames are brought where the model's profile says nothing else."""

    frame_height: int
    """See `frame_width`. Whole numbers of tokens, so that the processor has nothing to resize."""

    def rotary_layout(self, config: Any) -> RotaryLayout:
        """How the tokens of a clip are placed. `config`: the model's Hugging Face config."""
        vision = config.vision_config
        rate = None if self.stamps_clips else float(getattr(vision, "tokens_per_second", 1.0))
        return RotaryLayout(
            config.video_token_id, vision.patch_size, vision.spatial_merge_size, rate
        )
