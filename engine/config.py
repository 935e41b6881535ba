"""Settings of the model and of the engine that runs it."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from onlooker.core.settings import Section
from onlooker.engine.memory.config import MemorySection


class RestartSection(Section):
    """What happens when the engine's processes die under a running server."""

    max_restarts: int = Field(default=5, ge=0, le=1000)
    """Times that the engine is started again within `window_s`; when it dies once more it counts as
    gone for good. 0: it is never started again."""

    window_s: float = Field(default=600.0, gt=0)
    """How long a restart counts towards `max_restarts`."""

    min_backoff_s: float = Field(default=0.5, ge=0, le=3600)
    """The wait before the first restart; it doubles with each restart that still counts."""

    max_backoff_s: float = Field(default=30.0, gt=0, le=3600)
    """The longest wait before a restart."""

    check_interval_s: float = Field(default=0.5, gt=0, le=60)
    """How often it is checked that the engine still lives, even when nobody uses it."""

    wait_s: float = Field(default=60.0, ge=0, le=3600)
    """How long a question or a new stream waits for an engine that is being started, and a question
    for a stream that is being restored; then it is refused with the advice to try again."""


NOT_SPLIT_SO: Mapping[str, str] = {
    "pipeline_parallel_size": (
        "leaves each GPU with some of the layers of every clip, while a question chooses clips "
        "layer by layer and a step waits for the slowest GPU (split the heads instead: "
        "engine.vllm.tensor_parallel_size)"
    ),
    "data_parallel_size": (
        "gives the requests of one stream to copies of the model that do not know each other's "
        "memory (start a server for each copy, with one Redis: a fleet)"
    ),
}
"""Ways in which vLLM runs a model over several GPUs, and this server does not: why, and what to do,
by vLLM's name of the setting."""


class VllmSection(Section):
    """How vLLM runs the model. What is not here keeps vLLM's own default."""

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """The number format in which the model computes. ``auto``: float32 on a CPU, else what the
    model's config says."""

    max_model_len: int = Field(default=8192, ge=256, le=1_048_576)
    """The most tokens of one context. vLLM refuses to start with more than the model was made
    for."""

    max_num_seqs: int = Field(default=32, ge=1, le=4096)
    """The most requests in one engine step."""

    max_num_batched_tokens: int = Field(default=4096, ge=256)
    """The most tokens in one engine step. More is faster ingest; fewer is steadier decoding."""

    kv_cache_gib: int = Field(default=1, ge=1, le=4096)
    """Memory for KV on a CPU, in GiB, of each of the `tensor_parallel_size` parts. On a GPU see
    `gpu_memory_utilization`."""

    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    """Share of the GPU's memory that vLLM may take."""

    tensor_parallel_size: int = Field(default=1, ge=1, le=64)
    """GPUs over which the model is split, each with an equal share of the heads of every layer; on
    a CPU, processes. Its number of attention heads must be a multiple of this. What was stored with
    another number is not read, and is counted as ``foreign``."""

    load_format: Literal["auto", "dummy"] = "auto"
    """``dummy``: the weights are numbers of vLLM's own and no files are read, to measure a model of
    this shape (`make gpu-check`); what it says is nonsense. ``auto``: the files of the model."""

    kv_mover: Literal["auto", "layers", "strided"] = "auto"
    """How KV goes between the model's cache and the memory of streams, in ``segments`` mode.
    ``layers``: layer by layer; on a GPU everybody waits for that several times in each layer.
    ``strided``: in all layers at once, without waiting, through memory of ``memory.arena_gib`` that
    the GPU reaches by itself; for GPUs only. ``auto``: what suits the machine."""

    enforce_eager: bool | None = None
    """Run without compiled graphs. None: yes on a CPU (compiling takes minutes), no on a GPU."""

    cpu_threads_bind: str | None = None
    """Cores for the model's threads on a CPU (``0-3``), one list for each part of a model that is
    split (``0-1|2-3``). None: one core is left for the gateway, and the others are shared out."""

    processor_cache_gib: float = Field(default=0.5, ge=0, le=64)
    """Memory for preprocessed clips, so that resending one does not prepare it again."""

    tool_parser: str = "hermes"
    """vLLM's name of the parser that finds calls of functions in what the model writes, as of its
    ``--tool-call-parser``. ``hermes`` suits Qwen's models."""

    guessed_tokens: int = Field(default=0, ge=0, le=16)
    """The most tokens of an answer that are guessed ahead and checked in one step (n-gram
    speculation): where its last words stood before in the prompt or the answer, what followed them
    is tried. Answers that repeat what they were told get quicker; others cost a little more. They
    stay the same, word by word, where sampling is greedy. 0: none. Requests with ``min_p`` or
    ``logit_bias`` are refused then, and so are models with a pause (``watching.pause`` of their
    profile) at the start. Guesses of a second model are not to be had."""

    boot_timeout_s: float = Field(default=900, gt=0)
    """How long the model may take to load before the start is given up."""

    @model_validator(mode="before")
    @classmethod
    def _is_split_by_heads(cls, given: Any) -> Any:
        """Say why, and what to do, of names that people know from vLLM."""
        for name, why in NOT_SPLIT_SO.items():
            if isinstance(given, Mapping) and name in given:
                raise ValueError(f"{name} {why}")
        return given

    @model_validator(mode="after")
    def _each_part_has_cores(self) -> Self:
        bind, parts = self.cpu_threads_bind, self.tensor_parallel_size
        if bind is not None and re.search(r"\d", bind) and bind.count("|") + 1 != parts:
            raise ValueError(
                f"cpu_threads_bind = '{bind}' has {bind.count('|') + 1} lists of cores, and the "
                f"model is split into {parts} parts (tensor_parallel_size): give one list for "
                "each, with | between them, or leave it out"
            )
        return self


MAX_SHARE = 0.97
"""The most of a GPU's memory that two models may take together; the rest is the driver's."""

DECIDER_INDEX_GIB = 0.25
"""A decider brings nothing back, and its index is never asked."""


class DeciderSection(Section):
    """A smaller model beside the one that answers, which sees the same frames and on which the
    checks of watches run. It looks at the newest clips only, and takes the other settings of
    ``engine.vllm`` as they are."""

    model: str = Field(min_length=1)
    """``demo``, a folder with weights, or a hub name."""

    mode: Literal["segments", "resend"] = "segments"
    """As ``engine.mode``. Score heads of the model are read in ``segments`` mode only."""

    window_clips: int = Field(default=8, ge=1, le=512)
    """Newest clips in a clip's context; in resend mode also in that of every check."""

    arena_gib: float = Field(default=1.0, gt=0, le=65536)
    """Memory for the clips that it remembers, in GiB, beside ``memory.arena_gib``; segments mode
    only. When it is full the oldest go, of the stream that has the most."""

    max_model_len: int = Field(default=4096, ge=256, le=1_048_576)
    """The most tokens of one context."""

    gpu_memory_utilization: float = Field(default=0.1, gt=0, lt=1)
    """Share of the GPU's memory for its vLLM, beside ``vllm.gpu_memory_utilization``: for its
    weights, and the KV of what it computes. On a CPU it takes ``vllm.kv_cache_gib`` once more."""


class EngineSection(Section):
    """The model, and the engine that runs it."""

    model: str = "demo"
    """``demo`` (the shipped model of the drawn world), a folder with weights, or a hub name."""

    served_model_name: str | None = None
    """Name under which clients see the model; None: the model's own."""

    mode: Literal["segments", "resend", "fake"] = "segments"
    """``segments``: each clip is computed once and remembered, and questions bring old ones back.
    ``resend``: recent frames go with each request; what left the window is forgotten. For models
    whose memory is not plain attention.
    ``fake``: scripted answers, no model."""

    window_clips: int | None = Field(default=None, ge=1, le=4096)
    """The most clips in an answer's context. In resend mode these are the recent window; in
    segments mode they bound the recent window and ``memory.retrieved_clips`` together, unless
    ``memory.recent_clips`` is set. None: as many as the model says that it answers well about (its
    ``onlooker.json``), else 64."""

    stride_clips: int | None = Field(default=None, ge=1, le=4096)
    """Resend mode only: clips that leave a full window at once. Larger finds more of the prompt in
    the prefix cache; smaller keeps the window fuller. At most `window_clips`; None: half of it. In
    segments mode see ``memory.stride_clips``."""

    max_question_images: int = Field(default=4, ge=0, le=64)
    """The most pictures that one question may bring along."""

    decider: DeciderSection | None = None
    """A smaller model for the checks of watches; None: they run on the model that answers."""

    memory: MemorySection = MemorySection()
    restarts: RestartSection = RestartSection()
    vllm: VllmSection = VllmSection()

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.stride_clips is not None and self.mode != "resend":
            raise ValueError(
                f"stride_clips is for mode 'resend', and the mode is '{self.mode}': leave it out"
                + (", or set memory.stride_clips" if self.mode == "segments" else "")
            )
        if (self.stride_clips or 0) > (self.window_clips or 4096):
            raise ValueError(
                f"stride_clips ({self.stride_clips}) is larger than window_clips "
                f"({self.window_clips})"
            )
        return self

    @model_validator(mode="after")
    def _keeps_what_it_thins(self) -> Self:
        drop = self.memory.token_drop
        if self.mode == "resend" and (drop.method != "off" or drop.under_load != "off"):
            raise ValueError(
                "memory.token_drop needs clips that are kept, and the mode is 'resend', which "
                "computes recent frames whole with each request: leave memory.token_drop out, or "
                "set mode = 'segments'"
            )
        if self.mode == "resend" and self.memory.compaction.method != "off":
            raise ValueError(
                "memory.compaction makes kept clips smaller, and the mode is 'resend', which keeps "
                "none: leave memory.compaction out, or set mode = 'segments'"
            )
        return self

    @model_validator(mode="after")
    def _both_fit_the_gpu(self) -> Self:
        if self.decider is not None:
            shares = (self.vllm.gpu_memory_utilization, self.decider.gpu_memory_utilization)
            if sum(shares) > MAX_SHARE:
                raise ValueError(
                    f"vllm.gpu_memory_utilization ({shares[0]:g}) and "
                    f"decider.gpu_memory_utilization ({shares[1]:g}) are more than {MAX_SHARE:g} "
                    "of the GPU's memory: lower the first, so that both models fit"
                )
        return self

    def of_decider(self) -> "EngineSection | None":
        """What the decider's own engine is told; None where there is none."""
        decider = self.decider
        if decider is None:
            return None
        memory = MemorySection(
            recent_clips=decider.window_clips,
            retrieved_clips=0,
            arena_gib=decider.arena_gib,
            index_gib=DECIDER_INDEX_GIB,
        )
        vllm = self.vllm.model_copy(
            update={
                "max_model_len": decider.max_model_len,
                "gpu_memory_utilization": decider.gpu_memory_utilization,
                "guessed_tokens": 0,
            }
        )
        return EngineSection(
            model=decider.model,
            mode=decider.mode,
            window_clips=decider.window_clips,
            max_question_images=0,
            memory=memory,
            restarts=self.restarts,
            vllm=vllm,
        )
