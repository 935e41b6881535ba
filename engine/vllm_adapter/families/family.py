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
    """The name under which vLLM loads the class: an architecture of ours."""
    module: str
    """Name of vLLM's module for the family."""
    model: str
    """Name of vLLM's model class in `module`."""
    processor: str
    processing_info: str
    dummy_inputs: str
    """Name of a class in `module` that, with `processor` and `processing_info`, prepares the
    model's inputs."""
    num_levels: Callable[[Any], int] = lambda model: 1
    """How many embeddings of a token the vision tower of a loaded model puts side by side."""
    encodes_places: bool = False
    """Whether some places of a clip's picture can be encoded alone (see `entry.places`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. Its clips are video items of two frames, placed by the model's chat template."""

    architecture: str
    """The name of the architecture, as the config of a model says it."""

    guarded: GuardedClass | None = None
    """The model class that stream memory needs; None: the family is served without stream
    memory."""

    stamps_clips: bool
    """Whether the family's processor writes the time of each temporal patch before the patch, as
    text.

    Then all patches stand at one place in time. Where it does not, the patches of a clip follow
    each other on the time axis, and the prompt writes the clip's time, as nothing else tells it.
    """

    frame_width: int
    """Width in pixels to which frames are brought where the model's profile says nothing else."""

    frame_height: int
    """Height in pixels to which frames are brought, see `frame_width`. Both are whole numbers of
    tokens, so that the processor has nothing to resize."""

    def rotary_layout(self, config: Any) -> RotaryLayout:
        """How the tokens of a clip are placed. `config`: the model's Hugging Face config."""
        vision = config.vision_config
        rate = None if self.stamps_clips else float(getattr(vision, "tokens_per_second", 1.0))
        return RotaryLayout(
            config.video_token_id, vision.patch_size, vision.spatial_merge_size, rate
        )
