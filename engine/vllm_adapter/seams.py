"""Every name of vLLM 0.32 that its authors do not document as public, used here and nowhere else.

vLLM changes these without notice. `tests/vllm/test_seams.py` has one test for each, whose failure
says which one moved. The rest of the adapter imports of vLLM only what is documented: the engine
and its arguments, sampling parameters, the model registry, and the bases of KV connectors.

vLLM is imported inside the functions: each process needs only a few of them, and those that plan
requests and steps are tested without it.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from onlooker.engine.shared_core import CoreSeat

if TYPE_CHECKING:
    import torch


# ---- the server's process: the running engine


def in_process_executor() -> type[Any]:
    """The executor that runs the model in the engine core's own process."""
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    return UniProcExecutor


def device_memory_bytes() -> int:
    """Memory of the first GPU, which is not used for that."""
    from vllm.platforms import current_platform

    return int(current_platform.get_device_total_memory())


NGRAMS = "ngram"
"""The way of guessing tokens ahead that looks them up in the request's own tokens."""


@dataclass(frozen=True, slots=True)
class EngineModes:
    """How vLLM is about to run a model, as far as those must know who watch its layers."""

    mixed_graph: str
    """How steps run in which requests compute several tokens: as a ``FULL`` graph, in ``PIECEWISE``
    graphs between which each layer's attention runs as it is written, or as ``NONE``."""
    partitions_graph: bool
    """Whether the compiler cuts the graph, which then takes in the writing of keys and values."""
    breaks_graph: bool
    """Whether graphs are captured in one go, with breaks at attention only."""
    captures_encoder: bool
    """Whether the vision tower runs as a graph."""
    has_drafts: bool
    """Whether a second model guesses tokens ahead."""
    overlaps_batches: bool
    """Whether two halves of a step run at once."""
    cache_dtype: str
    """The number format of the KV cache; ``auto``: the model's own."""
    num_pipeline_parts: int
    """GPUs over which the layers are split."""
    num_copies: int
    """Copies of the model, each on GPUs of its own, among which requests are given out."""


def engine_modes(vllm_config: Any) -> EngineModes:
    """Read a ``VllmConfig`` that is complete, as ``create_engine_config`` gives it."""
    graphs, parallel = vllm_config.compilation_config, vllm_config.parallel_config
    cache_dtype = str(vllm_config.cache_config.cache_dtype)
    if cache_dtype == "auto" and getattr(vllm_config.quant_config, "kv_cache_scheme", None):
        cache_dtype = "fp8"  # what each attention layer makes of it
    return EngineModes(
        mixed_graph=graphs.cudagraph_mode.mixed_mode().name,
        partitions_graph=bool(graphs.use_inductor_graph_partition),
        # Completing a config sets this variable where vLLM finds that it should be.
        breaks_graph=os.environ.get("VLLM_USE_BREAKABLE_CUDAGRAPH", "0") == "1",
        captures_encoder=bool(graphs.cudagraph_mm_encoder),
        has_drafts=getattr(vllm_config.speculative_config, "method", NGRAMS) != NGRAMS,
        overlaps_batches=bool(parallel.use_ubatching),
        cache_dtype=cache_dtype,
        num_pipeline_parts=parallel.pipeline_parallel_size,
        num_copies=parallel.data_parallel_size,
    )


@dataclass(frozen=True, slots=True)
class LogitsProcessorNames:
    """One rule for the logits of requests, as each of vLLM's two model runners wants it written:
    names of classes, ``module:class``."""

    by_rows: str
    """For the older one, which tells of requests by their rows in a step, and moves rows."""
    by_slots: str
    """For the newer one, which gives each request a slot for as long as it runs."""


def add_logits_processor(vllm_config: Any, names: LogitsProcessorNames) -> None:
    """Have the engine of a ``VllmConfig`` apply a rule to the logits of its requests. Which runner
    it will have is known only of a complete config."""
    is_newer = vllm_config.use_v2_model_runner
    known = vllm_config.model_config.logits_processors or []
    name = names.by_slots if is_newer else names.by_rows
    vllm_config.model_config.logits_processors = [*known, name]


async def stop(llm: Any, *, timeout_s: float) -> None:
    """End the processes of an ``AsyncLLMEngine``; they get `timeout_s` to do so by themselves."""
    if (handler := llm.output_handler) is not None:
        # Else the handler takes the end of the processes for a crash and writes a stack trace.
        handler.cancel()
        await asyncio.wait([handler])
        llm.output_handler = None
    await asyncio.to_thread(llm.shutdown, timeout_s)
    # The engine's finaliser shuts down once more at the interpreter's exit, when what it calls is
    # gone.
    llm.shutdown = lambda timeout=None: None


async def render(llm: Any, prompt: dict[str, Any]) -> Any:
    """Tokenise a prompt and preprocess its clips, in vLLM's own threads."""
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    parsed = parse_model_prompt(llm.model_config, prompt)
    (rendered,) = await llm.renderer.render_cmpl_async([parsed])
    return rendered


def note_end_token(llm: Any) -> None:
    """Have an ``AsyncLLMEngine`` know the token by which its model ends what it writes, for which
    it would ask the tokenizer again with each request."""
    known = llm.renderer.get_eos_token_id()
    llm.renderer.get_eos_token_id = lambda: known


def note_gateways(engine_arguments: Any, num_gateways: int) -> None:
    """Tell an ``AsyncEngineArgs`` that so many processes use the engine: then none of them counts
    on the engine to have kept what this one alone has sent."""
    engine_arguments._api_process_count = num_gateways


@contextmanager
def shared_core(vllm_config: Any, seats: Sequence[CoreSeat], *, timeout_s: float) -> Iterator[Any]:
    """Run an engine core that gateways in other processes use, while the block runs. Gives what
    `multiprocessing.connection.wait` tells the core's end by. It gets `timeout_s` to end by itself.
    """
    from vllm.v1.engine.utils import EngineZmqAddresses, launch_core_engines
    from vllm.v1.executor import Executor

    addresses = EngineZmqAddresses(
        inputs=[seat.input_address for seat in seats],
        outputs=[seat.output_address for seat in seats],
    )
    executor = Executor.get_class(vllm_config)
    with launch_core_engines(vllm_config, executor, False, addresses) as launch:
        pass  # it is left when the core is ready
    manager = launch.engine_manager
    assert manager is not None
    try:
        yield manager.sentinels()
    finally:
        manager.shutdown(timeout=timeout_s)


def seated(seat: CoreSeat) -> dict[str, Any]:
    """Arguments by which an ``AsyncLLMEngine`` uses a core that runs already."""
    addresses = {"input_address": seat.input_address, "output_address": seat.output_address}
    return {
        "client_addresses": addresses,
        "client_count": seat.count,
        "client_index": seat.index,
    }


def has_lost_core(llm: Any) -> bool:
    """Whether an ``AsyncLLMEngine`` knows that its engine core has died."""
    return bool(llm.engine_core.resources.engine_dead)


def lose_core(llm: Any) -> None:
    """Have an ``AsyncLLMEngine`` know that its engine core has died; all that runs fails."""
    llm.engine_core.shutdown()


def has_failed(llm: Any) -> bool:
    """Whether the engine core of an ``AsyncLLMEngine`` has died."""
    return bool(llm.errored)


def hf_config(llm: Any) -> Any:
    """The Hugging Face config of the model that an ``AsyncLLMEngine`` runs."""
    return llm.model_config.hf_config


def is_engine_dead(error: Exception) -> bool:
    """Whether `error` says that vLLM's engine process is gone."""
    from vllm.v1.engine.exceptions import EngineDeadError

    return isinstance(error, EngineDeadError)


def is_client_error(error: Exception) -> bool:
    """Whether vLLM refused a request for what it asked."""
    from vllm.exceptions import VLLMClientError

    return isinstance(error, VLLMClientError | ValueError)


# ---- the server's process: calls of functions in what a model writes


@dataclass(frozen=True, slots=True)
class ExtractedCalls:
    """What a parser of vLLM's finds in a text."""

    content: str
    """The text without the calls."""
    calls: list[tuple[str, str]]
    """Names and arguments, the latter as JSON text."""


def has_tool_parser(name: str) -> bool:
    """Whether vLLM has a parser of this name."""
    from vllm.tool_parsers import ToolParserManager

    return name in ToolParserManager.tool_parsers or name in ToolParserManager.lazy_parsers


class CallFinder:
    """Finds calls of functions in one answer, as one of vLLM's parsers does."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        """`name`: of the parser, which there must be."""
        from vllm.tool_parsers import ToolParserManager

        self._parser = ToolParserManager.get_tool_parser(name)(tokenizer)
        start = getattr(self._parser, "tool_call_start_token", None)
        self.start: str | None = start if isinstance(start, str) and start else None
        """The text that begins a call; None where the parser does not tell."""

    def find(self, text: str, functions: list[dict[str, Any]]) -> ExtractedCalls:
        """Find the calls in a whole answer. `functions`: name, description and parameters of
        each."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        tools = [{"type": "function", "function": function} for function in functions]
        request = ChatCompletionRequest(messages=[], model="", tools=tools)
        found = self._parser.extract_tool_calls(text, request)
        calls = [(call.function.name, call.function.arguments) for call in found.tool_calls]
        return ExtractedCalls(found.content or "", calls)


# ---- the server's process: prompts with the features of clips


@dataclass(frozen=True, slots=True)
class RenderedClip:
    """A rendered prompt that holds nothing but one clip."""

    token_ids: list[int]
    features: Any
    """The clip's ``MultiModalKwargsItem``, with pixels."""
    offset: int
    length: int
    is_embed: Any
    """Which tokens of the placeholder become a piece of picture; `offset`, `length` and this are
    what vLLM's ``PlaceholderRange`` has."""


def rendered_clip(rendered: Any) -> RenderedClip:
    """Take apart what `render` made of a prompt with one video and nothing else."""
    placeholder = rendered["mm_placeholders"]["video"][0]
    return RenderedClip(
        list(rendered["prompt_token_ids"]),
        rendered["mm_kwargs"]["video"][0],
        placeholder.offset,
        placeholder.length,
        placeholder.is_embed,
    )


def feature_data(features: Any, name: str) -> Any:
    """The data of one field of a clip's features; None where there is no such field."""
    elem = features.get(name)
    return None if elem is None else elem.data


def feature_fields(features: Any) -> dict[str, Any]:
    """All fields of a clip's features, by name: (how vLLM batches it, its data)."""
    return {name: (elem.field, elem.data) for name, elem in features.items()}


def with_feature_data(features: Any, changed: Mapping[str, Any]) -> Any:
    """A copy of `features` with other data in the fields of `changed`, as far as `features` has
    them."""
    from vllm.multimodal.inputs import MultiModalKwargsItem

    return MultiModalKwargsItem(
        {
            name: replace(elem, data=changed[name]) if name in changed else elem
            for name, elem in features.items()
        }
    )


def with_more_data(features: Any, data: Mapping[str, Any]) -> Any:
    """A copy of `features` with more fields, which stay on the CPU."""
    from vllm.multimodal.inputs import MultiModalKwargsItem

    return MultiModalKwargsItem({**features, **features_without_pixels(data)})


def features_without_pixels(data: Mapping[str, Any]) -> Any:
    """Features of a clip that is not to be encoded: fields that stay on the CPU."""
    from vllm.multimodal.inputs import (
        MultiModalFieldConfig,
        MultiModalFieldElem,
        MultiModalKwargsItem,
    )

    field = MultiModalFieldConfig.batched("video", keep_on_cpu=True).field
    return MultiModalKwargsItem(
        {name: MultiModalFieldElem(data=value, field=field) for name, value in data.items()}
    )


@dataclass(frozen=True, slots=True)
class PromptFeature:
    """A clip in a prompt, as vLLM is told of it."""

    features: Any
    identity: str
    """The name under which vLLM may keep what it makes of the clip."""
    offset: int
    length: int
    is_embed: Any
    """Which tokens of the placeholder become a piece of picture, see `RenderedClip`."""


def engine_input(token_ids: list[int], salt: str, features: Sequence[PromptFeature]) -> Any:
    """A prompt that is tokenised already, for ``AsyncLLMEngine.generate``."""
    from vllm.inputs.engine import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

    if not features:
        return tokens_input(token_ids, cache_salt=salt)
    return mm_input(
        token_ids,
        MultiModalKwargsItems({"video": [feature.features for feature in features]}),
        {"video": [feature.identity for feature in features]},
        {
            "video": [
                PlaceholderRange(
                    offset=feature.offset, length=feature.length, is_embed=feature.is_embed
                )
                for feature in features
            ]
        },
        cache_salt=salt,
    )


# ---- the scheduler's process


@dataclass(frozen=True, slots=True)
class RequestState:
    """One of vLLM's requests at this moment."""

    request_id: str
    plan_params: Mapping[str, Any] | None
    """The request's ``kv_transfer_params``."""
    extra_args: Mapping[str, Any] | None
    num_prompt_tokens: int
    num_computed_tokens: int
    """Tokens that are computed; tokens in flight count, too."""
    num_left_tokens: int
    """Tokens still to be computed before the request has KV of all the tokens that it knows of."""
    num_guessed_tokens: int
    """Those of the tokens left that are guesses, to be checked in the next step."""
    num_output_tokens: int
    feature_starts: tuple[int, ...]
    """Prompt tokens at which the placeholders of the request's clips begin."""
    is_ending: bool
    """Whether a step in flight gives the request its last token, so that vLLM will not schedule it
    again."""
    is_blocked: bool
    """Whether the request waits for its grammar, so that vLLM cannot start it yet."""
    seat: int = 0
    """The seat from which the request came; see `onlooker.engine.shared_core.CoreSeat`."""


def request_state(request: Any) -> RequestState:
    """Read a ``vllm.v1.request.Request``."""
    from vllm.v1.request import RequestStatus

    sampling = request.sampling_params
    computed = request.num_computed_tokens
    in_flight = request.num_output_placeholders
    waits = request.status == RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
    asked = request.structured_output_request
    return RequestState(
        request_id=request.request_id,
        plan_params=request.kv_transfer_params,
        extra_args=sampling.extra_args if sampling else None,
        num_prompt_tokens=request.num_prompt_tokens,
        num_computed_tokens=computed,
        # Asynchronous scheduling: what is in flight counts as computed, and as a placeholder here.
        num_left_tokens=request.num_tokens_with_spec + in_flight - computed,
        num_guessed_tokens=len(request.spec_token_ids),
        num_output_tokens=request.num_output_tokens,
        feature_starts=tuple(feature.mm_position.offset for feature in request.mm_features),
        # What vLLM's own scheduler asks before it passes over such a request.
        is_ending=in_flight > 0
        and computed + 2 - in_flight >= request.num_prompt_tokens + request.max_tokens,
        is_blocked=waits and (asked is None or asked.grammar is None),
        seat=request.client_index,
    )


def num_output_tokens(request: Any) -> int:
    """Tokens that a ``vllm.v1.request.Request`` has generated so far."""
    return int(request.num_output_tokens)


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """What one step does for one request."""

    request_id: str
    num_computed_tokens: int
    """Tokens that were computed before the step."""
    num_tokens: int
    """Tokens that the step computes."""
    num_guessed_tokens: int
    """Those of them that are guesses."""
    num_encoded_clips: int
    find_block_ids: Callable[[], list[int]]
    """Gives the ids of all blocks of the request, in order. Few requests of a step need them."""


def scheduled_requests(output: Any) -> list[ScheduledRequest]:
    """What a ``SchedulerOutput`` does for each request, in its order."""
    computed = {r.req_id: r.num_computed_tokens for r in output.scheduled_new_reqs}
    cached = output.scheduled_cached_reqs
    computed.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
    found = []
    for request_id, num_tokens in output.num_scheduled_tokens.items():
        num_clips = len(output.scheduled_encoder_inputs.get(request_id, ()))
        found.append(
            ScheduledRequest(
                request_id,
                computed[request_id],
                num_tokens,
                len(output.scheduled_spec_decode_tokens.get(request_id, ())),
                num_clips,
                partial(_block_ids, output, request_id),
            )
        )
    return found


def _block_ids(output: Any, request_id: str) -> list[int]:
    blocks = output.kv_connector_block_state.get_block_ids(request_id)
    assert blocks is not None
    assert len(blocks) == 1, "plain attention in all layers has one group of blocks"
    found: list[int] = blocks[0]
    return found


def sampled_counts(runner_output: Any) -> dict[str, int]:
    """How many tokens a ``ModelRunnerOutput`` gives each request."""
    tokens = zip(runner_output.req_ids, runner_output.sampled_token_ids, strict=False)
    return {request_id: len(ids) for request_id, ids in tokens}


def connector_report(runner_output: Any) -> Any:
    """What the workers' connectors report in a ``ModelRunnerOutput``; None: nothing."""
    return runner_output.kv_connector_output


def worker_report(connector_output: Any) -> Any:
    """Our own part of a ``KVConnectorOutput``; None where there is none."""
    return connector_output.kv_connector_worker_meta


def finished_outputs(outputs: Mapping[int, Any]) -> Iterator[Any]:
    """The outputs of requests that have ended, from what ``Scheduler.update_from_output``
    returns."""
    for client in outputs.values():
        yield from (output for output in client.outputs if output.finish_reason is not None)


def add_output_params(output: Any, params: Mapping[str, Any]) -> None:
    """Let the output of a request that has ended carry `params` to the server, too."""
    output.kv_transfer_params = {**(output.kv_transfer_params or {}), **params}


def is_empty_step(output: Any) -> bool:
    """Whether a ``SchedulerOutput`` computes nothing."""
    return not output.total_num_scheduled_tokens


def step_limits(scheduler: Any) -> tuple[int, int]:
    """The most tokens and the most requests of one step."""
    return scheduler.max_num_scheduled_tokens, scheduler.max_num_running_reqs


@contextmanager
def arranged(
    scheduler: Any,
    *,
    running: list[Any],
    aside: list[Any],
    waiting: Iterable[Any],
    held: Iterable[Any],
    token_budget: int,
    chunk_limit: int,
) -> Iterator[None]:
    """Let `scheduler` schedule one step with its two queues in this order.

    Args:
        running: requests that run on, in order. Must stay the list that vLLM appends to.
        aside: running requests that are left out of this step, as if the budget had ended before
            them.
        waiting: requests that may start, in order.
        held: requests that may not, in order: vLLM does not see them in this step, since it would
            start them with whatever tokens others leave.
        token_budget: most tokens of the step.
        chunk_limit: most tokens of one prefill; 0: no limit.

    The scheduler's own limits are restored after the step.
    """
    config = scheduler.scheduler_config
    tokens, active = scheduler.max_num_scheduled_tokens, scheduler.max_num_active_reqs
    threshold = config.long_prefill_token_threshold
    scheduler.running = running
    requeue(scheduler, waiting)
    scheduler.max_num_scheduled_tokens = min(tokens, token_budget)
    scheduler.max_num_active_reqs = max(0, active - len(aside))
    if chunk_limit:
        config.long_prefill_token_threshold = chunk_limit
    try:
        yield
    finally:
        scheduler.running += aside
        scheduler.waiting.extend(held)  # behind whom vLLM has put back to the front
        scheduler.max_num_scheduled_tokens = tokens
        scheduler.max_num_active_reqs = active
        config.long_prefill_token_threshold = threshold


def queues(scheduler: Any) -> tuple[list[Any], list[Any]]:
    """The running and the waiting requests, in order."""
    return scheduler.running, list(scheduler.waiting)


def requeue(scheduler: Any, waiting: Iterable[Any]) -> None:
    """Let the waiting requests stand in this order."""
    waiting = list(waiting)
    scheduler.waiting.clear()
    scheduler.waiting.extend(waiting)


def arrived_at(request: Any) -> float:
    """When a ``vllm.v1.request.Request`` came in, for ordering."""
    return float(request.arrival_time)


def connector_config(scheduler: Any) -> Mapping[str, Any]:
    """The connector's extra configuration, the one that reaches the scheduler's process."""
    found: Mapping[str, Any] = scheduler.vllm_config.kv_transfer_config.kv_connector_extra_config
    return found


def token_bytes(scheduler: Any) -> int:
    """Bytes of KV that one token takes in all layers."""
    return sum(
        group.kv_cache_spec.page_size_bytes
        * len(group.layer_names)
        // group.kv_cache_spec.block_size
        for group in scheduler.kv_cache_config.kv_cache_groups
    )


def free_ratios(scheduler: Any) -> tuple[float, float]:
    """Free KV and encoder memory, each as a share of all."""
    encoder = scheduler.encoder_cache_manager
    free = encoder.num_freeable_slots / max(1, encoder.cache_size)
    return 1 - scheduler.kv_cache_manager.usage, free


# ---- the worker's process


class AttentionLayer:
    """One attention layer: its KV cache, and where its work can be watched.

    Keys and values are taken from, and given to, the layer's own cache-update call, so that nothing
    depends on how a backend lays its cache out inside (CPU backends pack it privately).
    """

    def __init__(self, layer: Any, name: str = "") -> None:
        self.name = name
        """vLLM's name of the layer."""
        self._layer = layer
        self._update = layer.impl.do_kv_cache_update

    @property
    def head_size(self) -> int:
        return int(self._layer.head_size)

    @property
    def cache(self) -> "torch.Tensor":
        """The layer's KV cache. On a GPU [blocks, kv_heads, block tokens, 2 * head_dim], a key and
        its value side by side; a CPU's backends pack it in a way of their own."""
        cache: torch.Tensor = self._layer.kv_cache
        return cache

    @property
    def device(self) -> "torch.device":
        """The device that holds the layer's KV cache."""
        device: torch.device = self._layer.kv_cache.device
        return device

    def write(self, keys: "torch.Tensor", values: "torch.Tensor", slots: "torch.Tensor") -> None:
        """Put KV into the cache. `keys`, `values`: [tokens, kv_heads, head_dim], contiguous;
        `slots`: [tokens] int64; all on the layer's device."""
        self._update(self._layer, keys, values, self._layer.kv_cache, slots)

    def watch(
        self,
        *,
        written: "Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]",
        before_attention: "Callable[[torch.Tensor], None]",
    ) -> None:
        """From now on, call `written` (key, value, slot mapping) when a step's KV has been written,
        and `before_attention` (query, with rotary position) just before the layer attends."""
        update, attend = self._update, self._layer.impl.forward

        def do_kv_cache_update(
            layer: Any, key: Any, value: Any, kv_cache: Any, slot_mapping: Any
        ) -> None:
            update(layer, key, value, kv_cache, slot_mapping)
            written(key, value, slot_mapping)

        def forward(layer: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            before_attention(query)
            return attend(layer, query, *args, **kwargs)

        self._layer.impl.do_kv_cache_update = do_kv_cache_update
        self._layer.impl.forward = forward


def attention_layers(vllm_config: Any, kv_caches: Mapping[str, Any]) -> list[AttentionLayer]:
    """The attention layers whose caches vLLM has just made, in layer order."""
    from vllm.config import get_layers_from_vllm_config
    from vllm.model_executor.layers.attention import Attention

    layers = get_layers_from_vllm_config(vllm_config, Attention)
    return [AttentionLayer(layers[name], name) for name in layers if name in kv_caches]


Turn: TypeAlias = (
    "Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, int, torch.Tensor], None]"
)
"""Turns queries and keys, or queries alone, [tokens, heads * head_dim], in place, by their rows in
a table. Gets the rows, queries, keys, the size of a head, and the table, [rows, rotary_dim]:
cosines, then sines."""


@dataclass(frozen=True, slots=True)
class RotaryParameters:
    """The rotary embedding of a model."""

    inv_freq: "torch.Tensor"
    """Inverse frequencies, [rotary_dim / 2] float32, on the CPU."""
    section: Sequence[int] | None
    """Frequencies that each of the three position axes has; None: one axis."""
    is_interleaved: bool
    """Whether the axes take turns, rather than following each other."""
    is_neox: bool
    """Whether a head is turned by its halves, rather than by pairs."""
    turn: "Turn | None" = None
    """What turns float32 on a CPU that runs the model as it is written; None elsewhere."""


def rotary_parameters(vllm_config: Any) -> RotaryParameters:
    """The rotary embedding of the model that a worker is about to run."""
    from vllm.model_executor.layers.rotary_embedding import get_rope

    config = vllm_config.model_config.hf_text_config
    rope = get_rope(
        vllm_config.model_config.get_head_size(),
        max_position=config.max_position_embeddings,
        rope_parameters=config.rope_parameters,
    )
    return RotaryParameters(
        inv_freq=rope._compute_inv_freq(rope.base).float().cpu(),
        section=getattr(rope, "mrope_section", None),
        is_interleaved=bool(getattr(rope, "mrope_interleaved", False)),
        is_neox=bool(getattr(rope, "is_neox_style", False)),
        turn=cpu_kernels().rotate if runs_as_written(vllm_config) else None,
    )


def runs_as_written(vllm_config: Any) -> bool:
    """Whether the model runs on a CPU as it is written, and is not compiled."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu()) and int(vllm_config.compilation_config.mode or 0) == 0


@dataclass(frozen=True, slots=True)
class CpuKernels:
    """vLLM's own kernels for CPUs. Tensors are float32; rows follow each other in memory, but for
    those of `rotate`."""

    rotate: Turn
    normalised: "Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]"
    """Gets rows, weights and epsilon; gives new rows."""
    add_and_normalise: "Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], None]"
    """Gets rows, a residual, weights and epsilon. The residual becomes the sum of both, and the
    rows become the norm of that."""


def cpu_kernels() -> CpuKernels:
    """The kernels that are loaded when vLLM runs a model on a CPU."""
    import torch
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    kernels = torch.ops._C

    def rotate(rows: Any, query: Any, key: Any, head_size: int, table: Any) -> None:
        kernels.rotary_embedding(rows, query, key, head_size, table, True)

    def normalised(x: Any, weight: Any, epsilon: float) -> Any:
        found = torch.empty_like(x)
        kernels.rms_norm(found, x, weight, epsilon)
        return found

    return CpuKernels(rotate, normalised, kernels.fused_add_rms_norm)


def rotary_modules(model: Any) -> list[Any]:
    """The rotary embeddings with several axes in a model of vLLM's, those that lay out a head by
    its halves and turn all of it."""
    from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding

    return [
        module
        for module in model.modules()
        if type(module) is MRotaryEmbedding
        and module.mrope_section
        and module.is_neox_style
        and module.rotary_dim == module.head_size
    ]


def norm_modules(model: Any) -> list[Any]:
    """The root mean square norms with weights in a model of vLLM's."""
    from vllm.model_executor.layers.layernorm import RMSNorm

    return [
        module
        for module in model.modules()
        if type(module) is RMSNorm and module.has_weight and module.variance_size_override is None
    ]


def picture_attentions(model: Any) -> list[Any]:
    """The attention of each layer of a model's vision tower."""
    from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention

    return [module for module in model.modules() if type(module) is MMEncoderAttention]


def picture_rotaries(model: Any) -> list[Any]:
    """What turns queries and keys in each layer of a model's vision tower, where a head is turned
    by its halves."""
    from vllm.model_executor.layers.rotary_embedding.common import ApplyRotaryEmb

    return [
        module
        for module in model.modules()
        if type(module) is ApplyRotaryEmb
        and module.is_neox_style
        and not module.enable_fp32_compute
    ]


def replace_picture_places(
    model: Any, known: "Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]"
) -> None:
    """Have what the vision tower of a model of Qwen3-VL's make adds to patches for their places, as
    a function of all grids, made by what `known` makes of that function."""
    visual: Any = getattr(model, "visual", None)
    if hasattr(visual, "fast_pos_embed_interpolate"):
        visual.fast_pos_embed_interpolate = known(visual.fast_pos_embed_interpolate)


def forward_of(operation: Any) -> "Callable[..., Any]":
    """What one of vLLM's ``CustomOp`` modules runs."""
    forward: Callable[..., Any] = operation._forward_method
    return forward


def replace_forward(operation: Any, forward: "Callable[..., Any]") -> None:
    """Have one of vLLM's ``CustomOp`` modules run `forward` from now on."""
    operation._forward_method = forward


def is_whole_graph(forward_context: Any, load_arguments: Mapping[str, Any]) -> bool:
    """Whether the forward pass that follows ``start_load_kv`` is a graph that is replayed, in which
    no layer asks for what is loaded."""
    mode = getattr(forward_context, "cudagraph_runtime_mode", None)
    # The newer runner hands over the attention metadata where it replays a graph, and only there.
    return "attn_metadata" in load_arguments or getattr(mode, "name", "NONE") == "FULL"


def pinned(memory: "torch.Tensor") -> "torch.Tensor":
    """`memory` of the host, locked in place so that a GPU can copy it by itself. Takes no more of
    it, as torch's own pinned memory does, which is of sizes that are powers of two."""
    from vllm.v1.simple_kv_offload.cuda_mem_ops import pin_tensor

    pin_tensor(memory)
    return memory


def device_view(memory: "torch.Tensor") -> "torch.Tensor":
    """Pinned memory of the host, as a tensor of the GPU, which reads and writes it from afar."""
    from vllm.utils.torch_utils import get_accelerator_view_from_cpu_tensor

    view: torch.Tensor = get_accelerator_view_from_cpu_tensor(memory)
    return view


def tensor_rank() -> tuple[int, int]:
    """Which of the workers over which the heads of each layer are split this one is, from 0; and
    how many there are."""
    from vllm.distributed.parallel_state import get_tp_group

    group = get_tp_group()
    return int(group.rank_in_group), int(group.world_size)


def gathered(mine: "torch.Tensor") -> "torch.Tensor":
    """The tensors that all workers over which the heads are split give at this place, [workers,
    ...] in the order of their ranks. Of tensors on a device this is put into the device's queue; of
    others it is waited for."""
    import torch
    from vllm.distributed.parallel_state import get_tp_group

    group = get_tp_group()
    found = torch.empty((group.world_size, *mine.shape), dtype=mine.dtype, device=mine.device)
    on_host = mine.device.type == "cpu"
    torch.distributed.all_gather_into_tensor(
        found.flatten(),
        mine.contiguous().flatten(),
        group=group.cpu_group if on_host else group.device_group,
    )
    return found


def worker_connector() -> Any:
    """The KV connector of this worker."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    return get_kv_transfer_group()


def running_connector() -> Any | None:
    """The KV connector of this worker; None while the worker is being made ready, where the model
    runs as well."""
    from vllm.distributed.kv_transfer import has_kv_transfer_group

    return worker_connector() if has_kv_transfer_group() else None


def __getattr__(name: str) -> Any:
    """vLLM's classes of schedulers and of rules for logits, to derive ours from."""
    if name == "Scheduler":
        from vllm.v1.core.sched.scheduler import Scheduler

        return Scheduler
    if name == "AsyncScheduler":
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler

        return AsyncScheduler
    if name == "LogitsProcessorByRows":
        from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

        return AdapterLogitsProcessor
    if name == "LogitsProcessorBySlots":
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor

        return LogitsProcessor
    raise AttributeError(name)
