"""Ways of running a model that stream memory cannot go with, refused before the model is loaded;
and the way in which it moves KV.

Stream memory watches every layer of the model: it takes keys and values as they are written, and
fills memory slots just before a layer attends. What runs layers without that, or shows it something
else, would lose clips and make answers wrong without a word. None of it is vLLM's default for the
families that segments mode knows, but a variable of the environment or a model's own config can
switch it on.
"""

from onlooker.core.errors import ConfigError
from onlooker.engine.config import NOT_SPLIT_SO, VllmSection
from onlooker.engine.vllm_adapter.seams import EngineModes
from onlooker.engine.vllm_adapter.wire import Mover

_PLAIN_CACHES = ("auto", "float16", "bfloat16")
"""Number formats of a KV cache that holds what the model computes."""


def mover_of(settings: VllmSection, *, cpu: bool) -> Mover:
    """How KV is moved on this machine.

    Raises:
        ConfigError: a way is asked for that a CPU does not bear.
    """
    if settings.kv_mover == "auto":
        return "layers" if cpu else "strided"
    if settings.kv_mover == "strided" and cpu:
        raise ConfigError(
            "engine.vllm.kv_mover = 'strided' reads the KV cache as a GPU lays it out, and vLLM "
            "packs it in a way of its own on a CPU: leave it at 'auto'"
        )
    return settings.kv_mover


def check_modes(modes: EngineModes) -> None:
    """Refuse what stream memory cannot go with.

    Raises:
        ConfigError: naming all of it, and what to do.
    """
    if reasons := refused(modes):
        raise ConfigError(
            "segments mode cannot remember with these settings: "
            + "; ".join(reasons)
            + ". engine.mode = 'resend' takes them, and remembers nothing"
        )


def refused(modes: EngineModes) -> list[str]:
    """What stream memory cannot go with: each as vLLM's name of it, why, and what to do."""
    found: list[str] = []
    if modes.mixed_graph == "FULL":
        found.append(
            "cudagraph_mode=FULL replays steps with questions and clips as one graph, past what "
            "takes and places their memory (FULL_AND_PIECEWISE, the default, is right)"
        )
    if modes.partitions_graph:
        found.append(
            "use_inductor_graph_partition=True captures where a layer writes its keys and values "
            "(leave it off)"
        )
    if modes.breaks_graph:
        found.append(
            "VLLM_USE_BREAKABLE_CUDAGRAPH=1, which VLLM_BATCH_INVARIANT=1 may switch on, captures "
            "where a layer writes its keys and values (set VLLM_USE_BREAKABLE_CUDAGRAPH=0)"
        )
    if modes.captures_encoder:
        found.append(
            "cudagraph_mm_encoder=True encodes clips past the guard that keeps those without "
            "pixels out (leave it off)"
        )
    if modes.has_drafts:
        found.append(
            "speculative_config has layers of another model write their own keys and values (take "
            "a checkpoint without drafts; engine.vllm.guessed_tokens needs no other model)"
        )
    if modes.overlaps_batches:
        found.append(
            "enable_dbo or ubatch_size > 1 runs two halves of a step at once, of which only one "
            "would be seen (leave them off)"
        )
    if modes.cache_dtype not in _PLAIN_CACHES:
        found.append(
            f"kv_cache_dtype={modes.cache_dtype}, which a checkpoint's kv_cache_scheme switches "
            "on, shows quantised queries, by which nothing can be ranked (take a checkpoint whose "
            "KV cache is not quantised)"
        )
    if modes.num_pipeline_parts > 1:
        why = NOT_SPLIT_SO["pipeline_parallel_size"]
        found.append(f"pipeline_parallel_size={modes.num_pipeline_parts} {why}")
    if modes.num_copies > 1:
        found.append(f"data_parallel_size={modes.num_copies} {NOT_SPLIT_SO['data_parallel_size']}")
    return found
