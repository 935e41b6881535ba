"""Layers that run by vLLM's kernels on a CPU compute what vLLM's own do. No engine is started."""

from typing import Any

import pytest
import torch

from onlooker.engine.config import VllmSection
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

HEAD_SIZE, NUM_TOKENS = 32, 7


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    prepare_environment(VllmSection(), cpu=True, model_is_local=True)


def made(*, is_interleaved: bool) -> tuple[Any, Any]:
    """A rotary embedding and a norm of vLLM's, in one module each."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.layernorm import RMSNorm
    from vllm.model_executor.layers.rotary_embedding import get_rope

    with set_current_vllm_config(VllmConfig()):
        rope = get_rope(
            HEAD_SIZE,
            max_position=64,
            rope_parameters={
                "rope_type": "default", "rope_theta": 100.0, "mrope_section": [6, 5, 5],
                "mrope_interleaved": is_interleaved,
            },
        )  # fmt: skip
        norm = RMSNorm(HEAD_SIZE, eps=1e-6)
    norm.weight.data = torch.randn(HEAD_SIZE)
    return rope, norm


def positions(seed: int) -> torch.Tensor:
    return torch.randint(0, 64, (3, NUM_TOKENS), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("is_interleaved", [True, False])
def test_queries_and_keys_are_turned_alike_in_each_step(is_interleaved: bool) -> None:
    from onlooker.engine.vllm_adapter.entry.quick_layers import StepRotary

    rope, _ = made(is_interleaved=is_interleaved)
    quick = StepRotary(rope, seams.cpu_kernels())
    for seed in (1, 2):
        places = positions(seed)
        for _layer in range(2):
            qkv = torch.randn(NUM_TOKENS, 4 * HEAD_SIZE)
            query, key = qkv[:, : 2 * HEAD_SIZE], qkv[:, 2 * HEAD_SIZE : 3 * HEAD_SIZE]
            expected = rope.forward_native(places, query.clone(), key.clone())
            found = quick(places, query, key)
            for mine, theirs in zip(found, expected, strict=True):
                assert mine is not None
                torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_a_norm_is_the_same_alone_and_after_an_addition() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_layers import QuickNorm

    _, norm = made(is_interleaved=True)
    quick = QuickNorm(norm, seams.cpu_kernels())
    heads = torch.randn(NUM_TOKENS, 6 * HEAD_SIZE)[:, : 2 * HEAD_SIZE]
    heads = heads.view(NUM_TOKENS, 2, HEAD_SIZE)  # apart from each other in memory
    torch.testing.assert_close(quick(heads), norm.forward_native(heads.clone()))
    rows, residual = torch.randn(2, NUM_TOKENS, HEAD_SIZE)
    expected = norm.forward_native(rows.clone(), residual.clone())
    for mine, theirs in zip(quick(rows, residual), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_half_precision_is_left_to_vllm() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_layers import QuickNorm, StepRotary

    rope, norm = made(is_interleaved=True)
    kernels = seams.cpu_kernels()
    query, key = torch.randn(2, NUM_TOKENS, HEAD_SIZE, dtype=torch.bfloat16)
    places = positions(1)
    expected = rope.forward_native(places, query.clone(), key.clone())
    found = StepRotary(rope, kernels)(places, query.clone(), key.clone())
    assert found[0].equal(expected[0])
    assert QuickNorm(norm, kernels)(query).equal(norm.forward_native(query))


def test_layers_of_a_model_run_the_quick_way_once_they_are_quickened() -> None:
    from onlooker.engine.vllm_adapter.entry.quick_layers import QuickNorm, StepRotary, quicken

    rope, norm = made(is_interleaved=True)
    quicken(torch.nn.ModuleDict({"rope": rope, "norm": norm}))
    assert isinstance(seams.forward_of(rope), StepRotary)
    assert isinstance(seams.forward_of(norm), QuickNorm)


@pytest.mark.parametrize("rotary_dim", [HEAD_SIZE, HEAD_SIZE // 2])
def test_keys_are_moved_by_the_kernel_as_without_it(rotary_dim: int) -> None:
    from onlooker.engine.vllm_adapter.seams import RotaryParameters
    from onlooker.engine.vllm_adapter.worker.rotary import Rotary

    inv_freq = 100.0 ** (-torch.arange(0, rotary_dim, 2) / rotary_dim)
    slow = Rotary.of(RotaryParameters(inv_freq, None, False, True))
    calls: list[int] = []

    def turn(rows: torch.Tensor, *rest: Any) -> None:
        calls.append(len(rows))
        seams.cpu_kernels().rotate(rows, *rest)

    quick = Rotary.of(RotaryParameters(inv_freq, None, False, True, turn))
    delta = torch.tensor([0, -3, 5, 5, 700, -12, 1])
    for dtype, turned in ((torch.float32, [2 * NUM_TOKENS]), (torch.bfloat16, [2 * NUM_TOKENS])):
        keys = torch.randn(2, NUM_TOKENS, 3, HEAD_SIZE).to(dtype)
        expected, found = slow.shift(keys, delta), keys.clone()
        quick.move(found, delta)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        slow.move(keys, delta)
        torch.testing.assert_close(keys, expected, rtol=0, atol=0)
        assert calls == turned, "the kernel turns float32 alone"
