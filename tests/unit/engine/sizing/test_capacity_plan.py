"""What is reckoned before anything is loaded, against published figures and the demo model."""

import json

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from onlooker.core.errors import ConfigError
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.sizing.capacity_plan import CapacityPlan
from onlooker.engine.sizing.known_shapes import KNOWN_SHAPES
from onlooker.engine.sizing.model_shape import ModelShape
from onlooker.engine.sizing.report import figures, lines, settings
from onlooker.engine.sizing.request import make_plan
from onlooker.engine.vllm_adapter.gateway.model_folder import model_folder
from onlooker.server.cli import app

EIGHT = "Qwen/Qwen3-VL-8B-Instruct"


def plan_of(model: str = EIGHT, **said: object) -> CapacityPlan:
    usual = {
        "gpu": "h100", "streams": 100, "hours": 24.0, "clips_per_s": 0.5, "questions_per_min": 1.0,
        "frame": None, "efficiency": 0.4, "host_gib": 128.0, "settings": EngineSection(),
    }  # fmt: skip
    return make_plan(model, **{**usual, **said})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen3-VL-2B", 2.13), ("Qwen3-VL-4B", 4.44), ("Qwen3-VL-8B", 8.77),
        ("Qwen3-VL-32B", 33.4), ("Qwen3-VL-30B-A3B", 31.1), ("Qwen2.5-VL-3B", 3.75),
        ("Qwen2.5-VL-7B", 8.29), ("Qwen2.5-VL-32B", 33.5), ("Qwen2.5-VL-72B", 73.4),
    ],
)  # fmt: skip
def test_known_shapes_have_the_published_numbers_of_parameters(name: str, billions: float) -> None:
    shape = KNOWN_SHAPES[f"Qwen/{name}-Instruct"]
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_the_demo_models_shape_is_that_of_its_weights() -> None:
    folder = model_folder("demo")
    assert folder is not None
    shape = ModelShape.of(json.loads((folder / "config.json").read_text()))
    with safe_open(folder / "model.safetensors", framework="np") as weights:
        stored = {name: weights.get_slice(name).get_shape() for name in list(weights.keys())}
    keys = [sizes for name, sizes in stored.items() if name.endswith("self_attn.k_proj.weight")]
    assert len(keys) == shape.layers
    assert {tuple(sizes) for sizes in keys} == {(shape.kv_heads * shape.head_dim, shape.hidden)}
    number = sum(_product(sizes) for name, sizes in stored.items())
    assert 0.95 * number < shape.parameters <= number


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def test_a_clip_of_the_8b_model_is_as_large_as_was_reckoned_by_hand() -> None:
    plan = plan_of()
    assert (plan.seen_tokens, plan.clip_tokens) == (192, 204)
    assert plan.token_bytes == 144 * 1024
    assert plan.clip_bytes / 1e6 == pytest.approx(30.1, abs=0.1)
    assert plan.held_bytes / 1e6 == pytest.approx(30.1, abs=0.1)
    assert plan.index_bytes / 1e3 == pytest.approx(74, abs=1)


def test_more_streams_take_more_and_the_most_streams_are_at_the_target() -> None:
    few, many = plan_of(streams=10), plan_of(streams=100)
    assert many.load == pytest.approx(10 * few.load)
    assert few.max_streams == pytest.approx(many.max_streams, abs=1)
    assert plan_of(streams=many.max_streams).load <= 0.8
    assert plan_of(streams=many.max_streams + 1).load > 0.79


def split(gpus: int, model: str = EIGHT, **said: object) -> CapacityPlan:
    return plan_of(
        model, settings=EngineSection(vllm=VllmSection(tensor_parallel_size=gpus)), **said
    )


def test_a_model_over_two_gpus_has_room_and_time_of_both() -> None:
    one, two = plan_of(), split(2)
    assert two.kv_gb > 2 * one.kv_gb, "the weights lie there once"
    assert two.clip_s == pytest.approx(one.clip_s / 2)
    assert two.load == pytest.approx(one.load / 2)
    assert two.clip_bytes == one.clip_bytes
    assert two.demand.budgets.index_bytes > one.demand.budgets.index_bytes


def test_a_plan_says_what_each_of_several_gpus_has() -> None:
    told = "\n".join(lines(split(2), EIGHT))
    assert "on 2 x h100" in told
    assert "each of the 2: 8.8 GB of weights, 15 MB of a clip" in told
    assert "each of the" not in "\n".join(lines(plan_of(), EIGHT))


def test_more_gpus_than_heads_of_keys_keep_them_several_times() -> None:
    """Qwen3-VL has 8 heads of keys, and 32 of queries."""
    assert split(8).token_copies == 1
    sixteen = split(16)
    assert sixteen.token_copies == 2
    assert figures(sixteen, EIGHT)["clip_bytes_each"] == figures(split(8), EIGHT)["clip_bytes_each"]


def test_heads_that_cannot_be_split_so_are_refused() -> None:
    (fault,) = split(3, streams=1).faults()
    assert "32 heads cannot be split over 3 GPUs" in fault
    assert "tensor_parallel_size" in fault


def test_a_model_that_fits_no_gpu_fits_four() -> None:
    large = "Qwen/Qwen2.5-VL-72B-Instruct"
    assert plan_of(large).kv_gb < 0
    assert split(4, large).contexts_at_once > 1


def test_what_does_not_work_is_said_with_what_to_do() -> None:
    assert plan_of(streams=50).faults() == ()
    assert "choose a larger GPU" in plan_of("Qwen/Qwen2.5-VL-72B-Instruct").faults()[0]
    assert "servers" in plan_of(streams=5000).faults()[0]
    wide = EngineSection.model_validate({"memory": {"recent_clips": 4096}})
    assert "recent_clips" in plan_of(settings=wide).faults()[0]


def test_a_host_whose_arena_holds_no_context_is_too_small() -> None:
    assert plan_of(streams=50, host_gib=4).faults() == ()
    assert "engine.memory.arena_gib" in plan_of(streams=50, host_gib=2).faults()[0]
    small = EngineSection.model_validate({"memory": {"arena_gib": 0.5}})
    large = EngineSection.model_validate({"memory": {"index_gib": 60}})
    assert "index_gib = 60 is more" in plan_of(streams=50, settings=large).faults()[0]
    assert "which take 17" in plan_of(streams=50, settings=small).faults()[0]


def test_a_plan_says_what_of_the_index_lies_on_the_host() -> None:
    plan = plan_of(gpu="h200")
    told = "\n".join(lines(plan, EIGHT))
    assert f"an index of {plan.index.max_rows:,} clips: the newest" in told
    assert f"of {plan.index.max_below:,} older ones 21 kB each" in told
    assert plan.index.max_rows > 2 * plan.demand.budgets.index_bytes // plan.index_bytes
    assert "the newest" in "\n".join(lines(split(2), EIGHT)), "of a model over two GPUs as well"


def test_the_index_that_a_plan_says_to_set_holds_what_was_asked_for() -> None:
    plan = plan_of(streams=100, hours=48)
    said = {name: value for name, value in settings(plan).items() if "index" in name}
    memory = {name.removeprefix("engine.memory."): value for name, value in said.items()}
    again = plan_of(
        streams=100,
        hours=48,
        host_gib=4096,
        settings=EngineSection.model_validate({"memory": memory}),
    )
    assert again.index.max_rows >= plan.num_clips


def test_settings_hold_what_was_asked_for() -> None:
    plan = plan_of(streams=20, hours=2)
    said = settings(plan)
    assert said["engine.memory.arena_gib"] * 2**30 >= 20 * 16 * plan.held_bytes
    assert said["cache_store.disk.budget_bytes"] >= 20 * 3600 * plan.clip_bytes


@pytest.mark.parametrize(
    ("model", "said", "why"),
    [
        ("nobody/knows", {}, "download the model"),
        (EIGHT, {"gpu": "abacus"}, "h100"),
        (EIGHT, {"frame": "512"}, "512x384"),
        (EIGHT, {"frame": "0x384"}, "512x384"),
    ],
)
def test_what_is_not_known_is_refused_with_what_there_is(
    model: str, said: dict[str, object], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        plan_of(model, **said)


def test_a_config_that_says_too_little_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        ModelShape.of({"text_config": {}})


def test_the_command_prints_lines_or_figures_and_ends_with_1_where_it_would_not_work() -> None:
    run = CliRunner().invoke
    said = run(app, ["plan", "--model", EIGHT, "--streams", "50"])
    assert said.exit_code == 0
    assert "30.1 MB" in said.output
    figures = json.loads(run(app, ["plan", "--model", "demo", "--gpu", "l4", "--json"]).stdout)
    assert figures["clip_tokens"] == 21
    assert figures["faults"] == []
    assert figures["arena_bytes"] == 16 * 2**30
    assert run(app, ["plan", "--model", EIGHT, "--streams", "5000"]).exit_code == 1
    assert run(app, ["plan", "--model", "nobody/knows"]).exit_code == 2
