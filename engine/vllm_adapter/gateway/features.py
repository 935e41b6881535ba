"""Clips and prompts of segments in vLLM's own types."""

import secrets
from typing import Any

import numpy as np
import torch

from onlooker.engine.memory.clip_tokens import ClipTokens, Placeholder
from onlooker.engine.memory.prompt import PlacedClip, SegmentPrompt
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.wire import ENCODED_FIELD, GRID_FIELD, KEPT_FIELD, POSITIONS_FIELD

STAMPS_FIELD = "timestamps"
SECONDS_FIELD = "second_per_grid_ts"
"""Fields that tell a clip's time; a family's processor makes one of them."""


_HERE = secrets.token_hex(4)
"""Names this process to an engine core that serves several: what another gateway had encoded under
the same clip's key, before it lost the stream, may have shown other pixels."""


def clip_tokens(key: str, rendered: Any, layout: RotaryLayout) -> tuple[ClipTokens, Any]:
    """Take apart a rendered prompt that holds nothing but one clip: the clip as tokens, and its
    features with pixels."""
    clip = seams.rendered_clip(rendered)
    is_embed = None if clip.is_embed is None else np.asarray(clip.is_embed, bool)
    stamps = seams.feature_data(clip.features, STAMPS_FIELD)
    seconds = seams.feature_data(clip.features, SECONDS_FIELD)
    tokens = ClipTokens.made(
        key,
        clip.token_ids,
        Placeholder(clip.offset, clip.length, is_embed),
        [int(number) for number in seams.feature_data(clip.features, GRID_FIELD)],
        layout,
        stamps=None if stamps is None else [float(stamp) for stamp in stamps],
        second_per_grid=None if seconds is None else float(seconds),
    )
    return tokens, clip.features


def engine_input(prompt: SegmentPrompt) -> Any:
    """A prompt as ``AsyncLLMEngine.generate`` takes it."""
    features = []
    if prompt.stored is not None:
        features.append(_feature(prompt.stored, f"segment:{prompt.stored.tokens.key}", prompt))
    for clip in prompt.computed:
        identity = f"clip:{_HERE}:{clip.tokens.identity}"
        features.append(_feature(clip, identity, prompt, carries=not features))
    return seams.engine_input(prompt.token_ids, prompt.salt, features)


def _feature(
    clip: PlacedClip, identity: str, prompt: SegmentPrompt, *, carries: bool = False
) -> seams.PromptFeature:
    """`carries`: whether a computed clip brings the places of all tokens along, if any does."""
    place = clip.tokens.placeholder
    found = clip.features
    if found is None:
        found = _with_positions(clip.tokens, prompt)
    else:
        more: dict[str, Any] = {}
        if clip.tokens.kept is not None:
            name = ENCODED_FIELD if clip.tokens.is_encoded_alone else KEPT_FIELD
            more[name] = torch.from_numpy(clip.tokens.kept)
        if carries and prompt.positions is not None:
            more[POSITIONS_FIELD] = torch.from_numpy(prompt.positions)
        if more:
            found = seams.with_more_data(found, more)
    return seams.PromptFeature(
        features=found,
        identity=identity,
        offset=clip.start + place.offset,
        length=place.length,
        is_embed=None if place.is_embed is None else torch.from_numpy(place.is_embed),
    )


def _with_positions(clip: ClipTokens, prompt: SegmentPrompt) -> Any:
    """Features without pixels that carry the positions of their whole prompt."""
    assert prompt.positions is not None
    data: dict[str, Any] = {GRID_FIELD: torch.tensor(clip.grid)}
    if clip.stamps is not None:
        data[STAMPS_FIELD] = list(clip.stamps)
    if clip.second_per_grid is not None:
        data[SECONDS_FIELD] = torch.tensor(clip.second_per_grid)
    if clip.kept is not None:
        data[KEPT_FIELD] = torch.from_numpy(clip.kept)
    data[POSITIONS_FIELD] = torch.from_numpy(prompt.positions)
    return seams.features_without_pixels(data)
