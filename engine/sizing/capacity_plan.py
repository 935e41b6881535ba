"""`CapacityPlan`: the arithmetic of serving a model to so many streams, before anything is loaded.

Every figure is a reckoning from the model's config, the chip's data sheet and the demand. What is
assumed beside these stands below as constants, each with where it comes from.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from onlooker.engine.memory.index_split import COARSE_SHARE, IndexSplit, coarse_row_bytes
from onlooker.engine.sizing.chip import Chip
from onlooker.engine.sizing.model_shape import ModelShape
from onlooker.engine.sizing.planned_load import PlannedLoad

BYTES = 2
"""Of one number in bfloat16."""

TEXT_TOKENS = 12
"""Tokens of a clip beside those of its picture: when it was, and marks around it. Measured with
Qwen3-VL's tokenizer: 204 tokens for a clip of 192 that are seen."""

HELD = 1.0
"""A clip that is held ready for a GPU takes so many times its keys and values. (On a CPU its keys
are there once more, without position.)"""

ANSWER_TOKENS = 64
"""Tokens of a question and its answer."""

WORK_GB = 3.0
"""Memory for vLLM's intermediate results, its encoder's cache and its graphs: what gpu profiles of
models of this size tend to tell."""

FRAMES = 2
"""Frames of a clip, which become one layer of tokens."""

TARGET_LOAD = 0.8
"""Above this share of the chip's time quality falls (`scheduler.target_load`)."""


@dataclass(frozen=True)
class CapacityPlan:
    """What `shape` has to give for `demand`, on one `chip` or on several over which its heads are
    split. What is not said of one chip is of all together."""

    shape: ModelShape
    chip: Chip
    demand: PlannedLoad

    # ---- one clip

    @cached_property
    def seen_tokens(self) -> int:
        """Tokens of a clip's picture."""
        side = self.shape.vision.patch * self.shape.vision.merge
        return math.ceil(self.demand.frame_width / side) * math.ceil(
            self.demand.frame_height / side
        )

    @cached_property
    def clip_tokens(self) -> int:
        return self.seen_tokens + TEXT_TOKENS

    @cached_property
    def token_bytes(self) -> int:
        """Keys and values of one token in all layers."""
        return BYTES * self.shape.kv_values

    @cached_property
    def clip_bytes(self) -> int:
        """As it is stored in a tier without a codec, and placed for an answer."""
        return self.clip_tokens * self.token_bytes

    @cached_property
    def held_bytes(self) -> float:
        """Where it is held ready."""
        return HELD * self.clip_bytes

    @cached_property
    def index_bytes(self) -> int:
        """The index's row of one clip, with one mean key in each layer."""
        return self.token_bytes // 2

    @cached_property
    def coarse_bytes(self) -> int:
        """What stays in the chip's memory of the row of a clip that went to the host."""
        shape = self.shape
        return coarse_row_bytes(shape.layers, shape.kv_heads, shape.head_dim)

    @cached_property
    def index(self) -> IndexSplit:
        """Which clips' rows of the index lie where."""
        budgets = self.demand.budgets
        return IndexSplit(
            row_bytes=self.index_bytes,
            coarse_bytes=self.coarse_bytes,
            device_bytes=budgets.index_bytes,
            host_bytes=budgets.index_host_bytes,
        )

    @cached_property
    def clip_flops(self) -> float:
        """Operations to see one clip: the vision tower, the layers, and looking at the window."""
        shape, vision = self.shape, self.shape.vision
        patches = self.seen_tokens * vision.merge**2
        tower = 2 * vision.parameters * patches + 4 * vision.layers * vision.hidden * patches**2
        context = self.context_tokens / 2
        attention = 4 * shape.layers * shape.heads * shape.head_dim * self.clip_tokens * context
        return tower + 2 * shape.active_parameters * self.clip_tokens + attention

    # ---- the chip's memory

    @cached_property
    def weights_gb(self) -> float:
        return self.shape.parameters * BYTES / 1e9

    @cached_property
    def context_tokens(self) -> int:
        """Of an answer that brings back as many clips as it may."""
        clips = self.demand.recent_clips + self.demand.retrieved_clips
        return clips * self.clip_tokens + ANSWER_TOKENS

    @cached_property
    def context_gb(self) -> float:
        return self.context_tokens * self.token_bytes / 1e9

    @cached_property
    def token_copies(self) -> float:
        """How often each chip's keys and values are there, all chips together: more than once where
        there are more chips than heads of keys."""
        return max(1.0, self.demand.gpus / self.shape.kv_heads)

    @cached_property
    def kv_gb(self) -> float:
        """What the chips have left for contexts; negative where the weights do not fit."""
        taken = self.chip.memory_gb * self.demand.share_of_memory - WORK_GB
        return (self.demand.gpus * taken - self.weights_gb) / self.token_copies

    @cached_property
    def contexts_at_once(self) -> int:
        """Whole contexts that lie in the chip's memory at once."""
        return max(0, int(self.kv_gb / self.context_gb))

    # ---- the host's memory and the tiers

    @cached_property
    def num_clips(self) -> float:
        """All clips that are remembered."""
        return self.demand.streams * self.demand.hours * 3600 * self.demand.clips_per_s

    @cached_property
    def stored_gb(self) -> float:
        """All that is remembered, without a codec."""
        return self.num_clips * self.clip_bytes / 1e9

    @cached_property
    def index_gb(self) -> float:
        return self.num_clips * self.index_bytes / 1e9

    @cached_property
    def index_device_gb(self) -> float:
        """What the index has to have of the chips' memory."""
        if self.demand.gpus > 1:
            return self.index_gb
        return min(self.index_gb, self.num_clips * self.coarse_bytes / COARSE_SHARE / 1e9)

    @cached_property
    def index_host_gb(self) -> float:
        """What it has to have of the host's memory then."""
        return self.index_gb if self.index_device_gb < self.index_gb else 0.0

    @cached_property
    def windows_gb(self) -> float:
        """The recent windows of all streams, and one question's older clips, held ready."""
        clips = self.demand.streams * self.demand.recent_clips + self.demand.retrieved_clips
        return clips * self.held_bytes / 1e9

    @cached_property
    def held_clips(self) -> int:
        """Clips that can be held ready at once."""
        return int(self.demand.budgets.arena_bytes / self.held_bytes)

    # ---- time

    @cached_property
    def clip_s(self) -> float:
        """Seconds of the chip for one clip."""
        tflops = self.demand.gpus * self.chip.tflops
        return self.clip_flops / (tflops * 1e12 * self.demand.efficiency)

    @cached_property
    def question_s(self) -> float:
        """Seconds of the chip for one question and its answer, alone: every word reads all
        weights."""
        words = ANSWER_TOKENS / 2
        read_gb = self.shape.active_parameters * BYTES / 1e9 + self.context_gb
        memory_gb_s = self.demand.gpus * self.chip.memory_gb_s
        return words * read_gb / (memory_gb_s * self.demand.efficiency)

    @cached_property
    def link_gb_s(self) -> float:
        """Bytes a second over the link to the host: clips that are saved, windows that are brought
        back when they begin anew, and the contexts of questions."""
        demand = self.demand
        clips_per_s = demand.streams * demand.clips_per_s
        loaded = (demand.recent_clips - demand.stride_clips) / demand.stride_clips
        questions_per_s = demand.streams * demand.questions_per_min / 60
        clips = clips_per_s * (1 + loaded) + questions_per_s * (
            demand.recent_clips + demand.retrieved_clips
        )
        return clips * self.clip_bytes / 1e9

    @cached_property
    def load(self) -> float:
        """The share in use of what is in shortest supply: the chip's time, or its link. Questions
        at one time share the reading of the weights, and count a fourth of one that is alone."""
        demand = self.demand
        clips = demand.streams * demand.clips_per_s * self.clip_s
        questions = demand.streams * demand.questions_per_min / 60 * self.question_s / 4
        return max(clips + questions, self.link_gb_s / (self.demand.gpus * self.chip.link_gb_s))

    @cached_property
    def max_streams(self) -> int:
        """Streams of this kind that the chip carries at its target load."""
        return int(self.demand.streams * TARGET_LOAD / self.load) if self.load else 0

    def faults(self) -> tuple[str, ...]:
        """Why this does not work, each with what to do; empty where it does."""
        faults = []
        if self.shape.heads % self.demand.gpus:
            faults.append(
                f"{self.shape.heads} heads cannot be split over {self.demand.gpus} GPUs: set "
                "engine.vllm.tensor_parallel_size to a number that divides them"
            )
        if self.kv_gb <= 0:
            faults.append(
                f"the weights ({self.weights_gb:.1f} GB) and {WORK_GB:.0f} GB to work in do not "
                f"fit {self.demand.share_of_memory:.0%} of {self.demand.gpus} x "
                f"{self.chip.memory_gb:.0f} GB: choose a larger GPU or a smaller model, or raise "
                "engine.vllm.tensor_parallel_size"
            )
        elif self.contexts_at_once < 1:
            faults.append(
                f"one context ({self.context_gb:.1f} GB) does not fit the {self.kv_gb:.1f} GB that "
                "the weights leave: fewer engine.memory.recent_clips or retrieved_clips, or "
                "smaller frames"
            )
        elif self.load > 1:
            faults.append(
                f"{self.demand.streams} streams would take {self.load:.1f} times what this can "
                f"do: {self.max_streams} fit one, so serve them with "
                f"{math.ceil(self.demand.streams / max(1, self.max_streams))} servers"
            )
        context_clips = self.demand.recent_clips + self.demand.retrieved_clips
        if self.held_clips < context_clips:
            faults.append(
                f"one context of {context_clips} clips does not fit the "
                f"{self.demand.budgets.arena_bytes / 2**30:.3g} GiB for clips that are held ready, "
                f"which take {self.held_clips}: raise engine.memory.arena_gib, on a host with more "
                "memory, or lower engine.memory.recent_clips or retrieved_clips"
            )
        faults += self.demand.budgets.faults()
        return tuple(faults)
