"""A forward pass of the language model for many questions about one context at once.

The tokens of a context (sink and clips) are computed once. Each *branch* (a question and its
answer) continues the context after some clip, sees what came up to there and itself, and nothing
of other branches: the result is that of separate prompts (a test compares the two). A context may
be computed under a sliding window and then be looked at in part and at other positions, the way
an engine that stores keys and values does it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel, apply_rotary_pos_emb

from onlooker.demo_model.dataset import CLIP_TOKENS, STAMP_TOKENS
from onlooker.demo_model.training.attention import (
    Masks,
    bias_of,
    causal_attention,
    joined_attention,
)


@dataclass
class Packed:
    """A batch of contexts with their branches. B contexts, C context tokens, Q branch tokens."""

    context_ids: Tensor
    """int64[B, C]: the token ids of the contexts."""
    merged: Tensor
    """float[B, clips * 9, H]: embeddings of the video tokens, in order."""
    deep: Tensor
    context_positions: Tensor
    """int64[3, B, C]: the positions at which the contexts are computed."""
    view_positions: Tensor | None
    """int64[3, B, C]: the positions at which branches see the contexts; None: as computed."""
    context_mask: Tensor | None
    """bool[B, 1, C, C]: the context tokens that a context token sees; None: itself and those
    before it."""
    branch_ids: Tensor
    """int64[B, Q]: the token ids of the branches, side by side."""
    branch_positions: Tensor
    """int64[3, B, Q]: the positions of the branch tokens."""
    branch_mask: Tensor
    """bool[B, 1, Q, C]: the context tokens that a branch token sees, one at least."""
    targets: Tensor
    """int64[B, Q]: the token that should come next, where that is learnt, else -100."""
    question_of: Tensor
    """int64[B, Q]: which question a token belongs to, -1 for answers and padding."""
    evidence: Tensor
    """bool[questions, clips of all contexts]: clips that a right answer needs."""
    pointed: Tensor
    """bool[rows, C]: the context tokens that show what a right answer, or a part of it, needs."""
    pointed_by: Tensor
    """int64[B, Q]: the row of `pointed` for each branch token, -1 for padding."""
    evenly: Tensor
    """bool[rows]: the rows of `pointed` of which all tokens should get the same attention; of
    other rows it does not matter which of the tokens gets it."""
    candidates: Tensor
    """bool[questions, clips of all contexts]: clips that the question's branch sees."""
    clip_of: Tensor
    """int64[C]: which clip a context token belongs to, -1 for the sink."""
    family: list[str]
    """The family of each question."""
    branch_of: Tensor
    """int64[B, Q]: which question a token of any kind belongs to, -1 for padding."""
    labels: dict[str, Tensor]
    """The labels of the clips' tokens by name, see `changes.Labelled`."""
    stamps: Tensor
    """int64[B, clips, 3]: the ten thousands, hundreds and seconds of the stamps."""
    hidden: Tensor | None = None
    """bool[B, C]: context tokens that are not there, which nothing sees; None: all are."""
    source: Tensor | None = None
    """int64[B, C]: the context token whose keys and values stand at each token; None: its own."""
    lesson: list[str] | None = None
    """What is taught with each question beside its family, for the log; "" for nothing."""

    def pointing(self) -> tuple[Tensor, Tensor]:
        """The branch tokens that should attend to the evidence, and their rows of `pointed`.

        Both are int64[P]; the former index the flattened branch tokens. They are all tokens that a
        word of an answer follows, as each word reads the evidence for itself: "at the" is easily
        said, "left" or "right" needs another look.
        """
        at = torch.nonzero(self.targets.flatten() >= 0)[:, 0]
        return at, self.pointed_by.flatten()[at]

    def to(self, device: torch.device) -> Packed:
        """This batch with all tensors on a device; those that are there already are not copied."""
        moved: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device)
        moved["labels"] = {name: value.to(device) for name, value in self.labels.items()}
        return Packed(**moved)


@dataclass
class SeenTokens:
    """What a forward pass yields: logits, and what the chosen layers hold."""

    logits: Tensor
    """float[answer tokens, vocabulary]: the logits where `targets >= 0`, in order."""
    summaries: list[tuple[Tensor, Tensor]]
    """Per layer of `score_layers`, before rotation: mean queries float[questions, key heads,
    width], summed over the heads that share a key head, and mean keys float[clips, key heads,
    width]."""

    pointers: list[Tensor]
    """Per layer of `point_layers`, float[P, heads, C]: the log of the attention that the tokens of
    `Packed.pointing` pay to each context token, in the heads of the first key heads."""
    taps: list[Tensor]
    """Per layer of `tap_layers`, float[B, clips, 10, H]: what the video tokens and the last token
    of each clip hold after that layer."""

    @property
    def scores(self) -> list[Tensor]:
        """Per layer of `score_layers`, float[questions, clips]: mean query against mean key."""
        return [mean_scores(queries, keys) for queries, keys in self.summaries]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return apply_rotary_pos_emb(x, x, cos, sin)[0]


def _mean_by(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """float[count, ...]: the mean of each group of `values`, float[N, ...].

    groups int64[N] says which group a value belongs to; -1: to none.
    """
    kept = groups >= 0
    flat = values[kept].flatten(1)
    index = groups[kept]
    total = flat.new_zeros(count, flat.shape[1]).index_add(0, index, flat)
    sizes = flat.new_zeros(count).index_add(0, index, flat.new_ones(len(index)))
    return (total / sizes.clamp(min=1.0)[:, None]).view(count, *values.shape[1:])


def _filled(x: Tensor, source: Tensor) -> Tensor:
    """[B, heads, T, width]: `x` with those of `source` (int64[B, C]) in place of the first C."""
    own = torch.arange(source.shape[1], x.shape[2], device=x.device).expand(len(x), -1)
    index = torch.cat([source, own], 1)[:, None, :, None]
    return x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3]))


class _Geometry:
    """The angles and masks that all layers share. Context tokens come before branch tokens."""

    def __init__(self, model: Qwen3VLTextModel, packed: Packed, x: Tensor) -> None:
        config = model.config
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.width = config.head_dim
        self.context = packed.context_ids.shape[1]
        self.kind = torch.bfloat16 if torch.is_autocast_enabled(x.device.type) else torch.float32
        positions = torch.cat([packed.context_positions, packed.branch_positions], 2)
        self.cos, self.sin = model.rotary_emb(x.float(), positions)
        self.view: tuple[Tensor, Tensor] | None = None
        if packed.view_positions is not None:
            self.view = model.rotary_emb(x.float(), packed.view_positions)
        self.masks = Masks(packed.branch_mask, packed.branch_of, len(packed.family))
        mask = packed.context_mask
        self.context_bias = None if mask is None else bias_of(mask)

    def heads_of(self, x: Tensor, count: int) -> Tensor:
        """[B, T, heads * width] -> [B, heads, T, width]"""
        return x.unflatten(-1, (count, self.width)).transpose(1, 2)

    def point(self, q: Tensor, k: Tensor, packed: Packed, groups: int) -> Tensor:
        """float[P, heads, C]: log attention of the pointing tokens to the context tokens.

        q float[B, heads, Q, width] of the branches, k float[B, key heads, C + Q, width].
        """
        at, context, repeat = packed.pointing()[0], self.context, self.heads // self.groups
        of = at // q.shape[2]
        angles = (self.cos, self.sin) if self.view is None else self.view
        keys = k[:, :groups, :context].float()
        keys = _rotate(keys, angles[0][:, :context], angles[1][:, :context])
        asked = _rotate(
            q[:, : groups * repeat].float(), self.cos[:, context:], self.sin[:, context:]
        )
        asked = asked.transpose(1, 2).flatten(0, 1)[at].unflatten(1, (groups, repeat))
        rows = [torch.einsum("qgrd,gcd->qgrc", asked[of == n], keys[n]) for n in range(len(keys))]
        logits = torch.cat(rows).flatten(1, 2) / self.width**0.5
        unseen = ~packed.branch_mask[:, 0].flatten(0, 1)[at]
        return logits.masked_fill(unseen[:, None], float("-inf")).log_softmax(-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """float[B, T, heads * width]: attention of the context to itself and of branches to both.

        q has T tokens: those of context and branches, or of branches alone.
        """
        context, repeat = self.context, self.heads // self.groups
        q, k, v = q.float(), k.float(), v.float()
        whole = q.shape[2] == k.shape[2]
        at = 0 if whole else context
        q = _rotate(q, self.cos[:, at:], self.sin[:, at:])
        own = _rotate(k, self.cos, self.sin)
        own, v = (t.repeat_interleave(repeat, 1) for t in (own, v))
        seen = own[:, :, :context]
        if self.view is not None:
            seen = _rotate(k[:, :, :context], *self.view).repeat_interleave(repeat, 1)
        outputs = []
        with torch.autocast(q.device.type, enabled=False):
            if whole:
                first, keys, values = (t[:, :, :context] for t in (q, own, v))
                outputs.append(causal_attention(first, keys, values, self.context_bias))
            pairs = (seen, v[:, :, :context]), (own[:, :, context:], v[:, :, context:])
            outputs.append(joined_attention(q[:, :, context - at :], *pairs, self.masks))
        return torch.cat(outputs, 2).transpose(1, 2).flatten(2).to(self.kind)


def forward(
    model: Qwen3VLTextModel,
    packed: Packed,
    video_id: int,
    score_layers: tuple[int, ...] = (),
    tap_layers: tuple[int, ...] = (),
    point_layers: tuple[int, ...] = (),
    point_groups: int = 1,
) -> SeenTokens:
    """Logits at the answers of every branch, and what the chosen layers hold.

    The last layer computes nothing but keys and values for the context.
    """
    ids = torch.cat([packed.context_ids, packed.branch_ids], 1)
    video = ids == video_id
    x = model.embed_tokens(ids)
    x = x.masked_scatter(video[..., None], packed.merged.to(x.dtype))
    geometry = _Geometry(model, packed, x)
    context, last = geometry.context, len(model.layers) - 1
    summaries: list[tuple[Tensor, Tensor]] = []
    taps: list[Tensor] = []
    pointers: list[Tensor] = []
    for number, layer in enumerate(model.layers):
        attention = layer.self_attn
        normed = layer.input_layernorm(x)
        asked = normed if number < last else normed[:, context:]
        q = geometry.heads_of(attention.q_proj(asked), geometry.heads)
        k = geometry.heads_of(attention.k_proj(normed), geometry.groups)
        v = geometry.heads_of(attention.v_proj(normed), geometry.groups)
        q, k = attention.q_norm(q), attention.k_norm(k)
        if packed.source is not None:
            k, v = _filled(k, packed.source), _filled(v, packed.source)
        if number in score_layers:
            branch_q = q[:, :, context:] if number < last else q
            summaries.append(_summary(branch_q, k[:, :, :context], packed))
        if number in point_layers:
            asking = q[:, :, context:] if number < last else q
            pointers.append(geometry.point(asking, k, packed, point_groups))
        x = x if number < last else x[:, context:]
        x = x + attention.o_proj(geometry.attend(q, k, v))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        if number == 0:
            add = torch.zeros_like(x).masked_scatter(video[..., None], packed.deep.to(x.dtype))
            x = x + add
        if number in tap_layers:
            opening = int((packed.clip_of < 0).sum())
            clips = x[:, opening:context].unflatten(1, (-1, CLIP_TOKENS))
            taps.append(clips[:, :, STAMP_TOKENS + 1 :])
    wanted = packed.targets >= 0
    logits = functional.linear(model.norm(x[wanted]), model.embed_tokens.weight)
    return SeenTokens(logits.float(), summaries, pointers, taps)


def mean_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """float[questions, clips]: scaled dot products of queries and keys, summed over key heads."""
    return torch.einsum("qgd,cgd->qc", queries, keys) / keys.shape[-1] ** 0.5


def _summary(q: Tensor, k: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
    """Mean queries of all questions and mean keys of all clips of one layer."""
    batch, groups = k.shape[:2]
    summed = q.float().unflatten(1, (groups, -1)).sum(2)
    queries = _mean_by(
        summed.transpose(1, 2).flatten(0, 1), packed.question_of.flatten(), len(packed.family)
    )
    clips = int(packed.clip_of.max()) + 1
    offset = torch.arange(batch, device=q.device)[:, None] * clips
    clip_of = torch.where(packed.clip_of >= 0, packed.clip_of + offset, -1)
    if packed.hidden is not None:
        clip_of = clip_of.masked_fill(packed.hidden, -1)
    keys = _mean_by(k.float().transpose(1, 2).flatten(0, 1), clip_of.flatten(), clips * batch)
    return queries, keys


def retrieval_loss(scores: Tensor, evidence: Tensor, candidates: Tensor) -> tuple[Tensor, float]:
    """The cross-entropy of evidence against all candidates, and the share of the questions for
    which evidence has the highest score."""
    has = evidence.any(1)
    if not bool(has.any()):
        return scores.sum() * 0.0, float("nan")
    scores = scores.masked_fill(~candidates, float("-inf"))[has]
    evidence = evidence[has]
    log_total = torch.logsumexp(scores, 1)
    log_right = torch.logsumexp(scores.masked_fill(~evidence, float("-inf")), 1)
    top = evidence.gather(1, scores.argmax(1, keepdim=True)).float().mean().item()
    return (log_total - log_right).mean(), top


def pointer_loss(pointers: Tensor, packed: Packed) -> tuple[Tensor, float]:
    """How far the heads' attention is from the tokens pointed at, and the share that is on them.

    pointers float[P, heads, C] of one layer. Tokens for which nothing is pointed at do not count.
    For rows that are `evenly` looked at, the distance goes by the geometric mean of the shares: it
    tells their sum when all are the same, and less otherwise.
    """
    rows = packed.pointing()[1]
    pointed, evenly = packed.pointed[rows], packed.evenly[rows]
    has = pointed.any(1)
    if not bool(has.any()):
        return pointers.nan_to_num(neginf=0.0).sum() * 0.0, float("nan")
    pointed, pointers, evenly = pointed[has][:, None], pointers[has], evenly[has]
    logs = pointers.masked_fill(~pointed, float("-inf")).logsumexp(-1)
    sizes = pointed.sum(-1).float()
    alike = pointers.masked_fill(~pointed, 0.0).sum(-1) / sizes + sizes.log()
    far = -torch.where(evenly[:, None], alike, logs)
    return far.clamp(max=20.0).mean(), logs.exp().mean().item()
