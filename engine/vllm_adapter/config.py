"""Settings of vLLM itself. Imports nothing of vLLM, so that they can be shown without it."""

from typing import Literal

from pydantic import Field

from onlooker.core.settings import Section


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
