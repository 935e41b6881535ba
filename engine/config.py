"""Settings of the model and of the engine that runs it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from onlooker.core.settings import Section
from onlooker.engine.memory.config import MemorySection


class RestartSection(Section):
    """What happens when the engine's processes die under a running server."""

    max_restarts: int = Field(default=5, ge=0, le=1000)
    """Times that the engine is started again within `window_s`; one more and it counts as gone for
    good. 0: never started again."""

    window_s: float = Field(default=600.0, gt=0)
    """Restarts longer ago do not count."""

    min_backoff_s: float = Field(default=0.5, ge=0, le=3600)
    """Wait before the first restart; doubles with each that still counts."""

    max_backoff_s: float = Field(default=30.0, gt=0, le=3600)
    """The longest wait before a restart."""

    check_interval_s: float = Field(default=0.5, gt=0, le=60)
    """How often an engine that nobody uses is looked at."""

    wait_s: float = Field(default=60.0, ge=0, le=3600)
    """How long a question or a new stream waits for an engine that is being started, and a question
    for a stream that is being restored; then it is refused with the advice to try again."""


class VllmSection(Section):
    """How vLLM runs the model. What is not here keeps vLLM's own default."""

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Arithmetic. ``auto``: float32 on a CPU, else what the model's config says."""

    max_model_len: int = Field(default=8192, ge=256, le=1_048_576)
    """The most tokens of one context. Capped at what the model was made for."""

    max_num_seqs: int = Field(default=32, ge=1, le=4096)
    """The most requests in one engine step."""

    max_num_batched_tokens: int = Field(default=4096, ge=256)
    """The most tokens in one engine step. More is faster ingest; fewer is steadier decoding."""

    kv_cache_gib: int = Field(default=1, ge=1, le=4096)
    """Memory for KV on a CPU, in GiB. On a GPU see `gpu_memory_utilization`."""

    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    """Share of the GPU's memory that vLLM may take."""

    tensor_parallel_size: int = Field(default=1, ge=1, le=64)
    """GPUs over which the model is split."""

    enforce_eager: bool | None = None
    """Run without compiled graphs. None: yes on a CPU (compiling takes minutes), no on a GPU."""

    cpu_threads_bind: str | None = None
    """Cores for the model's threads on a CPU (``0-3``). None: one core is left for the gateway."""

    processor_cache_gib: float = Field(default=0.5, ge=0, le=64)
    """Memory for preprocessed clips, so that resending one does not prepare it again."""

    boot_timeout_s: float = Field(default=900, gt=0)
    """Give up when the model is not loaded by then."""


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
    """Clips of the recent window, always in an answer's context. None: as many as the model says
    that it answers well about (its ``onlooker.json``), else 64."""

    stride_clips: int | None = Field(default=None, ge=1, le=4096)
    """Resend mode only: clips that leave a full window at once. Larger finds more of the prompt in
    the prefix cache; smaller keeps the window fuller. At most `window_clips`; None: half of it. In
    segments mode see ``memory.stride_clips``."""

    max_question_images: int = Field(default=4, ge=0, le=64)
    """Pictures that one question may bring along."""

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
