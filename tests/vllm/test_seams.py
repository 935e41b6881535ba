"""Each name of vLLM that is not documented as public still is what `seams.py` takes it for.

No engine is started. A failure here says which seam of vLLM moved, before anything else breaks in
ways that are harder to read.
"""

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onlooker.engine.config import VllmSection
from onlooker.engine.shared_core import CoreSeat
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.families import FAMILIES, GUARDED
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

ADAPTER = Path(inspect.getfile(seams)).resolve().parent

PUBLIC = {
    "vllm": {"AsyncEngineArgs", "AsyncLLMEngine", "ModelRegistry"},
    "vllm.config": {"KVTransferConfig", "StructuredOutputsConfig", "VllmConfig"},
    "vllm.sampling_params": {"RequestOutputKind", "SamplingParams", "StructuredOutputsParams"},
    "vllm.multimodal": {"MULTIMODAL_REGISTRY"},
    "vllm.distributed.kv_transfer.kv_connector.v1.base": {
        "KVConnectorBase_V1", "KVConnectorMetadata", "KVConnectorRole", "KVConnectorWorkerMetadata",
        "SupportsHMA",
    },
}  # fmt: skip
"""What the rest of the adapter may import: the engine, its arguments, and what vLLM documents for
those who extend it (sampling, the model and processor registries, KV connectors)."""


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    prepare_environment(VllmSection(), cpu=True, model_is_local=True)


def imported(path: Path) -> Iterable[tuple[str, str]]:
    """What a file imports of vLLM: module and name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "vllm")


def test_what_is_not_public_is_imported_in_one_file() -> None:
    strangers = {
        f"{path.relative_to(ADAPTER)}: {module}.{name}"
        for path in ADAPTER.rglob("*.py")
        if path.name != "seams.py"
        for module, name in imported(path)
        if name not in PUBLIC.get(module, ())
    }
    assert strangers == set()


def has(owner: Any, *names: str) -> None:
    """Fail for attributes that `owner` does not have; fields of dataclasses count."""
    fields = {f.name for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else ()
    source = inspect.getsource(owner) if inspect.isclass(owner) else ""
    missing = [
        name
        for name in names
        if not hasattr(owner, name) and name not in fields and f"self.{name}" not in source
    ]
    assert missing == [], f"{owner} has moved"


def takes(function: Callable[..., Any], *names: str) -> None:
    """Fail unless a function's parameters begin with these names."""
    assert tuple(inspect.signature(function).parameters)[: len(names)] == names


# ---- the server's process


def test_the_executor_that_runs_in_the_cores_process() -> None:
    from vllm.v1.executor.abstract import Executor

    assert issubclass(seams.in_process_executor(), Executor)


@pytest.mark.parametrize("is_newer", [False, True])
def test_a_rule_for_logits_is_given_to_the_runner_that_takes_it(is_newer: bool) -> None:
    from vllm.config import ModelConfig, VllmConfig

    from onlooker.engine.vllm_adapter.gateway.boot import PAUSE_PROCESSORS

    has(ModelConfig, "logits_processors")
    has(VllmConfig, "use_v2_model_runner")
    config = SimpleNamespace(
        use_v2_model_runner=is_newer, model_config=SimpleNamespace(logits_processors=None)
    )
    seams.add_logits_processor(config, PAUSE_PROCESSORS)
    (name,) = config.model_config.logits_processors
    module, found = name.split(":")
    base = seams.LogitsProcessorBySlots if is_newer else seams.LogitsProcessorByRows
    assert issubclass(getattr(importlib.import_module(module), found), base)


def test_the_running_engine_can_be_stopped_and_asked() -> None:
    from vllm import AsyncLLMEngine

    has(AsyncLLMEngine, "output_handler", "errored", "model_config", "renderer", "collective_rpc")
    takes(AsyncLLMEngine.shutdown, "self", "timeout")


def test_the_engine_starts_from_a_config_that_was_looked_at() -> None:
    from vllm import AsyncEngineArgs, AsyncLLMEngine

    takes(AsyncEngineArgs.create_engine_config, "self")
    assert "disable_log_stats" in inspect.signature(AsyncLLMEngine.from_vllm_config).parameters


def test_a_core_can_be_started_for_several_engines() -> None:
    from vllm import AsyncEngineArgs, AsyncLLMEngine
    from vllm.v1.engine.core_client import BackgroundResources, MPClient
    from vllm.v1.engine.utils import (
        CoreEngineLaunch,
        CoreEngineProcManager,
        EngineZmqAddresses,
        launch_core_engines,
    )

    assert [*inspect.signature(launch_core_engines).parameters] == [
        "vllm_config", "executor_class", "log_stats", "addresses",
    ]  # fmt: skip
    assert {"inputs", "outputs"} <= {one.name for one in dataclasses.fields(EngineZmqAddresses)}
    assert "engine_manager" in {one.name for one in dataclasses.fields(CoreEngineLaunch)}
    assert "timeout" in inspect.signature(CoreEngineProcManager.shutdown).parameters
    assert callable(CoreEngineProcManager.sentinels)
    seat = CoreSeat(1, 2, 4, "ipc:///in", "ipc:///out")
    seated = seams.seated(seat)
    assert seated.keys() <= inspect.signature(AsyncLLMEngine.from_vllm_config).parameters.keys()
    assert 'client_addresses["input_address"]' in inspect.getsource(MPClient.__init__)
    assert 'client_addresses["output_address"]' in inspect.getsource(MPClient.__init__)
    assert "engine_dead" in {one.name for one in dataclasses.fields(BackgroundResources)}
    arguments = SimpleNamespace()
    seams.note_gateways(arguments, 3)
    assert vars(arguments).keys() <= {one.name for one in dataclasses.fields(AsyncEngineArgs)}
    assert "_api_process_count=self._api_process_count" in inspect.getsource(
        AsyncEngineArgs.create_engine_config
    )


def test_an_engine_that_is_told_of_its_cores_death_knows_of_it() -> None:
    resources = SimpleNamespace(engine_dead=False)
    core = SimpleNamespace(
        resources=resources, shutdown=lambda: setattr(resources, "engine_dead", True)
    )
    llm = SimpleNamespace(engine_core=core)
    assert not seams.has_lost_core(llm)
    seams.lose_core(llm)
    assert seams.has_lost_core(llm)


def test_the_way_a_model_is_run_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.config import (
        CacheConfig,
        CompilationConfig,
        CUDAGraphMode,
        ParallelConfig,
        VllmConfig,
    )

    monkeypatch.delenv("VLLM_USE_BREAKABLE_CUDAGRAPH", raising=False)
    stock = seams.engine_modes(VllmConfig())
    assert stock.mixed_graph in ("NONE", "PIECEWISE")
    assert stock == seams.EngineModes(
        mixed_graph=stock.mixed_graph,
        partitions_graph=False,
        breaks_graph=False,
        captures_encoder=False,
        has_drafts=False,
        overlaps_batches=False,
        cache_dtype="auto",
        num_pipeline_parts=1,
        num_copies=1,
    )

    has(VllmConfig, "speculative_config", "quant_config")
    config = SimpleNamespace(
        compilation_config=CompilationConfig(cudagraph_mm_encoder=True),
        parallel_config=ParallelConfig(ubatch_size=2),
        cache_config=CacheConfig(cache_dtype="fp8"),
        quant_config=None,
        speculative_config=SimpleNamespace(method="eagle"),
    )
    config.compilation_config.use_inductor_graph_partition = True
    modes = {
        CUDAGraphMode.FULL: "FULL",
        CUDAGraphMode.FULL_AND_PIECEWISE: "PIECEWISE",
        CUDAGraphMode.FULL_DECODE_ONLY: "NONE",
    }
    monkeypatch.setenv("VLLM_USE_BREAKABLE_CUDAGRAPH", "1")
    for mode, name in modes.items():
        config.compilation_config.cudagraph_mode = mode
        found = seams.engine_modes(config)
        assert found.mixed_graph == name
    assert found.partitions_graph
    assert found.breaks_graph
    assert found.captures_encoder
    assert found.has_drafts
    assert found.overlaps_batches
    assert found.cache_dtype == "fp8"


def test_a_checkpoint_that_quantises_its_kv_cache_says_so() -> None:
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import (
        CompressedTensorsConfig,
    )

    has(CompressedTensorsConfig, "kv_cache_scheme")


def test_a_prompt_can_be_rendered() -> None:
    from vllm.renderers import BaseRenderer
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    takes(parse_model_prompt, "model_config", "prompt")
    has(BaseRenderer, "render_cmpl_async", "render_cmpl")


def test_errors_are_told_apart() -> None:
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError

    assert seams.is_engine_dead(EngineDeadError())
    assert not seams.is_engine_dead(ValueError("x"))
    assert seams.is_client_error(ValueError("x"))
    assert issubclass(VLLMClientError, Exception)
    assert not seams.is_client_error(KeyError("x"))


def test_calls_of_functions_are_found_in_what_a_model_writes() -> None:
    assert seams.has_tool_parser("hermes")
    assert not seams.has_tool_parser("no such parser")
    finder = seams.CallFinder("hermes", SimpleNamespace(get_vocab=dict))
    assert finder.start == "<tool_call>"
    dial = {"name": "dial", "description": "", "parameters": {"type": "object"}}
    call = '<tool_call>\n{"name": "dial", "arguments": {"number": "112"}}\n</tool_call>'
    found = finder.find(f"I dial.\n{call}", [dial])
    assert (found.content.strip(), found.calls) == ("I dial.", [("dial", '{"number": "112"}')])
    found = finder.find("No call.", [dial])
    assert (found.content, found.calls) == ("No call.", [])


def test_features_of_a_clip_can_be_made_read_and_changed() -> None:
    features = seams.features_without_pixels({"a": 1, "b": [2]})
    assert seams.feature_data(features, "a") == 1
    assert seams.feature_data(features, "c") is None
    changed = seams.with_feature_data(features, {"b": [3], "c": 4})
    assert {name: data for name, (_, data) in seams.feature_fields(changed).items()} == {
        "a": 1, "b": [3],
    }  # fmt: skip
    (kind, _), *_ = seams.feature_fields(features).values()
    assert kind.keep_on_cpu


def test_a_tokenised_prompt_is_what_the_engine_takes() -> None:
    text = seams.engine_input([1, 2], "salt", [])
    assert (text["prompt_token_ids"], text["cache_salt"]) == ([1, 2], "salt")
    features = seams.features_without_pixels({"a": 1})
    clip = seams.PromptFeature(features, "clip:k", offset=1, length=2, is_embed=None)
    prompt = seams.engine_input([1, 2, 3, 4], "salt", [clip])
    assert list(prompt["mm_kwargs"]["video"]) == [features]
    assert prompt["mm_hashes"]["video"] == ["clip:k"]
    (place,) = prompt["mm_placeholders"]["video"]
    assert (place.offset, place.length) == (1, 2)


def test_the_token_that_ends_what_a_model_writes_is_asked_for_once() -> None:
    from vllm.renderers.base import BaseRenderer
    from vllm.v1.engine.input_processor import InputProcessor

    takes(BaseRenderer.get_eos_token_id, "self")
    assert "self.renderer.get_eos_token_id()" in inspect.getsource(InputProcessor.process_inputs)
    tokens = iter([2])
    renderer = SimpleNamespace(get_eos_token_id=lambda: next(tokens))
    seams.note_end_token(SimpleNamespace(renderer=renderer))
    assert [renderer.get_eos_token_id() for _ in range(3)] == [2, 2, 2]


# ---- the scheduler's process


def test_a_request_can_be_read() -> None:
    from vllm import SamplingParams
    from vllm.v1.request import Request

    takes(Request.__init__, "self", "request_id", "prompt_token_ids", "sampling_params")
    params = SamplingParams(extra_args={"kv_transfer_params": {"x": 1}, "y": 2})
    request = Request("r", [1, 2, 3], params, None)
    state = seams.request_state(request)
    assert state.plan_params == {"x": 1}
    assert state.extra_args is not None
    assert state.extra_args["y"] == 2
    assert (state.num_prompt_tokens, state.num_computed_tokens, state.num_left_tokens) == (3, 0, 3)
    assert (state.num_output_tokens, state.feature_starts) == (0, ())
    assert (state.is_ending, state.is_blocked) == (False, False)
    assert seams.num_output_tokens(request) == 0
    assert seams.arrived_at(request) > 0


def test_a_request_tells_that_its_last_token_is_in_flight() -> None:
    from vllm import SamplingParams
    from vllm.v1.request import Request

    request = Request("r", [1, 2, 3], SamplingParams(max_tokens=2), None)
    request.num_computed_tokens, request.num_output_placeholders = 3, 1
    assert not seams.request_state(request).is_ending, "the second token is still to be computed"
    request.append_output_token_ids(4)
    request.num_computed_tokens, request.num_output_placeholders = 4, 1
    assert seams.request_state(request).is_ending


def test_a_request_tells_that_it_waits_for_its_grammar() -> None:
    from concurrent.futures import Future

    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams
    from vllm.v1.request import Request

    params = SamplingParams(structured_outputs=StructuredOutputsParams(json={"type": "object"}))
    request = Request("r", [1, 2, 3], params, None)
    grammar: Future[Any] = Future()
    assert request.structured_output_request is not None
    request.structured_output_request.grammar = grammar
    assert seams.request_state(request).is_blocked
    grammar.set_result(object())
    assert not seams.request_state(request).is_blocked


def test_a_scheduled_step_can_be_read() -> None:
    from vllm.v1.core.sched.output import (
        CachedRequestData,
        KVConnectorBlockState,
        NewRequestData,
        SchedulerOutput,
    )

    has(SchedulerOutput, "scheduled_new_reqs", "scheduled_cached_reqs", "num_scheduled_tokens")
    has(SchedulerOutput, "scheduled_encoder_inputs", "kv_connector_block_state")
    has(SchedulerOutput, "scheduled_spec_decode_tokens", "total_num_scheduled_tokens")
    has(NewRequestData, "req_id", "num_computed_tokens")
    has(CachedRequestData, "req_ids", "num_computed_tokens")
    blocks = KVConnectorBlockState({"r"}, lambda request_id: ([4, 5],), {})
    step = SimpleNamespace(
        scheduled_new_reqs=[SimpleNamespace(req_id="r", num_computed_tokens=7)],
        scheduled_cached_reqs=CachedRequestData.make_empty(),
        num_scheduled_tokens={"r": 3},
        scheduled_encoder_inputs={"r": [0]},
        scheduled_spec_decode_tokens={"r": [8, 9]},
        kv_connector_block_state=blocks,
    )
    (request,) = seams.scheduled_requests(step)
    assert (request.num_computed_tokens, request.num_tokens) == (7, 3)
    assert (request.num_guessed_tokens, request.num_encoded_clips) == (2, 1)
    assert request.find_block_ids() == [4, 5]
    assert seams.is_empty_step(SimpleNamespace(total_num_scheduled_tokens=0))
    assert not seams.is_empty_step(SimpleNamespace(total_num_scheduled_tokens=3))


def test_what_a_step_gave_can_be_read() -> None:
    from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
    from vllm.v1.outputs import KVConnectorOutput, ModelRunnerOutput

    has(ModelRunnerOutput, "req_ids", "sampled_token_ids", "kv_connector_output")
    assert seams.worker_report(KVConnectorOutput()) is None
    output = EngineCoreOutput("r", [1], kv_transfer_params={"x": 1})
    assert list(seams.finished_outputs({0: EngineCoreOutputs(outputs=[output])})) == []
    seams.add_output_params(output, {"y": 2})
    assert output.kv_transfer_params == {"x": 1, "y": 2}


def test_the_schedulers_queues_and_limits() -> None:
    from vllm.config import SchedulerConfig
    from vllm.v1.core.sched.request_queue import FCFSRequestQueue

    has(
        seams.Scheduler, "running", "waiting", "requests", "max_num_scheduled_tokens",
        "max_num_running_reqs", "max_num_active_reqs", "scheduler_config", "vllm_config",
        "kv_cache_config", "kv_cache_manager", "encoder_cache_manager", "connector",
    )  # fmt: skip
    has(SchedulerConfig, "long_prefill_token_threshold")
    takes(seams.Scheduler.schedule, "self", "throttle_prefills")
    takes(seams.Scheduler.update_from_output, "self", "scheduler_output", "model_runner_output")
    assert issubclass(seams.AsyncScheduler, seams.Scheduler)
    scheduler = SimpleNamespace(waiting=FCFSRequestQueue([3, 1, 2]))
    seams.requeue(scheduler, sorted(scheduler.waiting))
    assert list(scheduler.waiting) == [1, 2, 3]


def test_who_is_held_back_is_out_of_sight_for_a_step_and_behind_those_put_back() -> None:
    from vllm.v1.core.sched.request_queue import FCFSRequestQueue

    scheduler = SimpleNamespace(
        running=["a", "b"],
        waiting=FCFSRequestQueue(["c", "d"]),
        max_num_scheduled_tokens=100,
        max_num_active_reqs=8,
        scheduler_config=SimpleNamespace(long_prefill_token_threshold=0),
    )
    with seams.arranged(
        scheduler, running=["a"], aside=["b"], waiting=["d"], held=["c"], token_budget=0,
        chunk_limit=0,
    ):  # fmt: skip
        assert list(scheduler.waiting) == ["d"]
        assert scheduler.max_num_scheduled_tokens == 0
        scheduler.waiting.prepend_request(scheduler.running.pop())  # preempted
    assert (scheduler.running, list(scheduler.waiting)) == (["b"], ["a", "d", "c"])
    assert scheduler.max_num_scheduled_tokens == 100


def test_memory_that_the_scheduler_accounts_for() -> None:
    from vllm.v1.core.encoder_cache_manager import EncoderCacheManager
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheGroupSpec

    has(EncoderCacheManager, "num_freeable_slots", "cache_size")
    has(KVCacheManager, "usage")
    has(KVCacheGroupSpec, "layer_names", "kv_cache_spec")
    has(FullAttentionSpec, "block_size", "page_size_bytes")


# ---- the worker's process


def test_attention_layers_write_and_attend_through_their_backend() -> None:
    from vllm.model_executor.layers.attention import Attention
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl

    has(Attention, "impl", "kv_cache", "head_size")
    takes(
        CPUAttentionBackendImpl.do_kv_cache_update,
        "self", "layer", "key", "value", "kv_cache", "slot_mapping",
    )  # fmt: skip
    takes(CPUAttentionBackendImpl.forward, "self", "layer", "query")


@pytest.mark.parametrize(
    ("mode", "arguments", "is_whole"),
    [("FULL", {}, True), ("PIECEWISE", {}, False), ("NONE", {"attn_metadata": {}}, True)],
)
def test_a_graph_that_is_replayed_is_known_before_it_runs(
    mode: str, arguments: dict[str, Any], is_whole: bool
) -> None:
    from vllm.config import CUDAGraphMode
    from vllm.forward_context import ForwardContext
    from vllm.v1.worker.gpu.kv_connector import ActiveKVConnector

    context = ForwardContext({}, {}, {}, cudagraph_runtime_mode=CUDAGraphMode[mode])
    assert seams.is_whole_graph(context, arguments) is is_whole
    takes(ActiveKVConnector.pre_forward, "self", "scheduler_output", "input_batch", "attn_metadata")


def test_memory_can_be_locked_and_seen_by_a_gpu() -> None:
    """Neither can be tried on a CPU."""
    from vllm.utils.torch_utils import get_accelerator_view_from_cpu_tensor
    from vllm.v1.simple_kv_offload.cuda_mem_ops import pin_tensor

    takes(pin_tensor, "tensor")
    takes(get_accelerator_view_from_cpu_tensor, "cpu_tensor")


def test_a_layer_that_is_watched_tells_and_does_its_work() -> None:
    done: list[Any] = []
    impl = SimpleNamespace(
        do_kv_cache_update=lambda *args: done.append(("update", *args)),
        forward=lambda layer, query, *args: done.append(("attend", query)),
    )
    layer = SimpleNamespace(impl=impl, kv_cache="cache", head_size=4)
    found = seams.AttentionLayer(layer)
    found.watch(
        written=lambda *args: done.append(("written", *args)),
        before_attention=lambda query: done.append(("before", query)),
    )
    layer.impl.do_kv_cache_update(layer, "k", "v", "cache", "slots")
    layer.impl.forward(layer, "q", "k", "v")
    assert done == [
        ("update", layer, "k", "v", "cache", "slots"),
        ("written", "k", "v", "slots"),
        ("before", "q"),
        ("attend", "q"),
    ]
    unwatched: Any = ("k2", "v2", "slots2")
    found.write(*unwatched)
    assert done[4:] == [("update", layer, "k2", "v2", "cache", "slots2")], "writes are not told"


def test_rotary_embeddings_tell_their_frequencies_and_axes() -> None:
    import torch

    config = SimpleNamespace(
        get_head_size=lambda: 8,
        hf_text_config=SimpleNamespace(
            max_position_embeddings=64,
            rope_parameters={
                "rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        ),
    )  # fmt: skip
    from vllm.config import VllmConfig, set_current_vllm_config

    as_written, compiled = (
        SimpleNamespace(model_config=config, compilation_config=SimpleNamespace(mode=mode))
        for mode in (0, 3)
    )
    with set_current_vllm_config(VllmConfig()):
        found = seams.rotary_parameters(as_written)
        assert found.turn is not None
        assert seams.rotary_parameters(compiled).turn is None
    expected = 100.0 ** (-torch.arange(0, 8, 2) / 8)
    assert torch.allclose(found.inv_freq, expected)
    assert (list(found.section or ()), found.is_interleaved, found.is_neox) == (
        [2, 1, 1], True, True,
    )  # fmt: skip


def test_what_a_vision_tower_does_clip_by_clip_can_be_done_by_others() -> None:
    """That it is done is shown by `test_quick_pictures.py`."""
    from vllm.model_executor.layers.attention.mm_encoder_attention import MMEncoderAttention
    from vllm.model_executor.layers.rotary_embedding.common import ApplyRotaryEmb
    from vllm.model_executor.models.qwen3_vl import Qwen3_VisionTransformer

    takes(
        MMEncoderAttention.forward_cpu,
        *("self", "query", "key", "value", "cu_seqlens", "max_seqlen", "sequence_lengths"),
    )
    takes(ApplyRotaryEmb.forward_cpu, "self", "x", "cos", "sin")
    takes(Qwen3_VisionTransformer.fast_pos_embed_interpolate, "self", "grid_thw")


def test_workers_with_other_heads_can_be_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they exchange is shown by `test_split_model.py`, with two of them."""
    from vllm.distributed import parallel_state

    has(parallel_state.GroupCoordinator, "rank_in_group", "world_size", "cpu_group", "device_group")
    met = SimpleNamespace(rank_in_group=1, world_size=2)
    monkeypatch.setattr(parallel_state, "_TP", met)
    assert seams.tensor_rank() == (1, 2)


def test_a_gpus_memory_can_be_asked_for() -> None:
    from vllm.platforms import current_platform

    takes(current_platform.get_device_total_memory, "device_id")


def test_the_workers_connector_can_be_found() -> None:
    from vllm.distributed import kv_transfer

    has(kv_transfer, "get_kv_transfer_group", "has_kv_transfer_group")
    assert seams.running_connector() is None, "no worker runs here"


# ---- families


@pytest.mark.parametrize("family", GUARDED.values(), ids=lambda family: family.guarded.name)
def test_a_familys_model_stands_behind_the_guard(family: Any) -> None:
    from onlooker.engine.vllm_adapter.entry import models

    found: Any = getattr(models, family.guarded.name)
    assert found is getattr(models, family.guarded.name), "it is made once"
    stock = found.__mro__[3]  # behind the quick layers and the guard
    assert stock.__name__ == family.guarded.model
    has(stock, "get_mrope_input_positions", "embed_multimodal")
    takes(stock.forward, "self", "input_ids", "positions", "intermediate_tensors", "inputs_embeds")
    assert "_processor_factory" in vars(found)


def test_no_other_name_is_a_model() -> None:
    from onlooker.engine.vllm_adapter.entry import models

    with pytest.raises(AttributeError, match="no family"):
        _ = models.OnlookerSomethingElse
    assert set(GUARDED) == {f.guarded.name for f in FAMILIES.values() if f.guarded}
