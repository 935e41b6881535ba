"""Starting vLLM. It is imported only inside these functions, after the environment that it reads at
import has been set.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError, EngineDead
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.signals import starting_deaf
from onlooker.engine.checks import Check
from onlooker.engine.config import VllmSection
from onlooker.engine.interface import Progress
from onlooker.engine.shared_core import CoreSeat
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway.model_folder import Model
from onlooker.engine.vllm_adapter.gateway.modes import check_modes
from onlooker.engine.vllm_adapter.gateway.platform import (
    check_cores,
    is_cpu_build,
    is_eager,
    model_threads,
    prepare_environment,
    set_while,
)

_log = logging.getLogger("onlooker.engine.vllm")

PROGRESS_INTERVAL_S = 5.0

LEAST_ALIKE, MOST_ALIKE = 2, 4
"""How many tokens, at least and at most, must have stood before, for what followed them to be
guessed again."""

PAUSE_PROCESSORS = seams.LogitsProcessorNames(
    by_rows="onlooker.engine.vllm_adapter.entry.pause_by_rows:PauseByRows",
    by_slots="onlooker.engine.vllm_adapter.entry.pause_by_slots:PauseBySlots",
)
"""What holds the model's pause back."""

CPU_BLOCK_TOKENS = 32
"""The smallest block that vLLM's CPU attention takes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What vLLM is started with beside the settings: every process that uses one engine core must
    make the same of it."""

    model: Model
    arguments: dict[str, Any]
    """vLLM engine arguments beside those that the settings give."""
    is_watched: bool = False
    """Whether something watches the layers of the model, as stream memory does, so that ways of
    running them are refused that go past it."""


GetSeat = Callable[[], Awaitable[CoreSeat]]
"""Waits for a place at an engine core that others have started."""

Gone = Callable[[int], Awaitable[None]]
"""Waits until the engine core of a life has ended; see `SharedCore.gone`."""


async def start_vllm(
    settings: VllmSection,
    recipe: Recipe,
    *,
    progress: Progress,
    clock: Clock,
    num_gateways: int = 1,
    get_seat: GetSeat | None = None,
    gone: Gone | None = None,
) -> Any:
    """Load a model and return a running ``vllm.AsyncLLMEngine``.

    Args:
        num_gateways: processes that use the engine core.
        get_seat, gone: a place at an engine core that others start, and its end, of which vLLM
            itself hears nothing while it waits for the core's first word; None starts one.

    Raises:
        ConfigError: vLLM is missing or refuses the model, runs it in a way that is refused, or the
            start takes too long.
    """
    name = recipe.model.served_name
    prepare(settings, recipe)
    progress(f"loading {name} into vLLM on the {'CPU' if is_cpu_build() else 'GPU'}")
    started_s = clock.now_s()
    loading = asyncio.create_task(_load(settings, recipe, num_gateways, get_seat, gone))
    try:
        while not loading.done():
            await asyncio.wait([loading], timeout=PROGRESS_INTERVAL_S)
            waited_s = clock.now_s() - started_s
            if loading.done():
                break
            if waited_s > settings.boot_timeout_s:
                raise ConfigError(f"vLLM was not ready after {waited_s:.0f} s (boot_timeout_s)")
            progress(f"still loading {name}: {waited_s:.0f} s")
        return loading.result()
    except ConfigError:
        raise
    except Exception as error:
        raise refusal(recipe.model, error) from error
    finally:
        loading.cancel()  # else a start that is given up would take a seat later


def prepare(settings: VllmSection, recipe: Recipe) -> None:
    """Set what vLLM reads when it is imported.

    Raises:
        ConfigError: vLLM is missing, the machine's cores are not given out as they must be, or what
            the model brings along cannot go with the settings.
    """
    check_guesses(settings, recipe.model)
    cpu = is_cpu_build()
    prepare_environment(settings, cpu=cpu, model_is_local=recipe.model.is_local)
    if cpu:
        check_cores(settings.tensor_parallel_size)


def refusal(model: Model, error: Exception) -> ConfigError:
    """What a person is told of vLLM's own error while it started."""
    _log.debug("vLLM did not start", exc_info=error)
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return ConfigError(f"vLLM could not load '{model.served_name}': {reason[-1]}")


async def _load(
    settings: VllmSection,
    recipe: Recipe,
    num_gateways: int,
    get_seat: GetSeat | None,
    gone: Gone | None,
) -> Any:
    if get_seat is None or gone is None:
        return await asyncio.to_thread(_launch, settings, recipe)
    # The core is loaded meanwhile, by the process that started it.
    config = await asyncio.to_thread(make_config, settings, recipe, num_gateways)
    seat = await get_seat()
    sitting = asyncio.ensure_future(asyncio.to_thread(_sit_down, config, seat))
    ending = asyncio.ensure_future(gone(seat.life))
    try:
        # vLLM waits ten minutes for the word of a core that has ended.
        await asyncio.wait((sitting, ending), return_when=asyncio.FIRST_COMPLETED)
        if not sitting.done():
            raise EngineDead("the engine core ended while this gateway joined it")
        return sitting.result()
    finally:
        sitting.cancel()
        ending.cancel()


def _launch(settings: VllmSection, recipe: Recipe) -> Any:
    from vllm import AsyncLLMEngine

    with launching(settings):
        config = make_config(settings, recipe)
        return AsyncLLMEngine.from_vllm_config(config, disable_log_stats=True)


def _sit_down(config: Any, seat: CoreSeat) -> Any:
    from vllm import AsyncLLMEngine

    seated = seams.seated(seat)
    return AsyncLLMEngine.from_vllm_config(config, disable_log_stats=True, **seated)


def launching(settings: VllmSection) -> AbstractContextManager[Any]:
    """The environment in which this thread may start vLLM's processes, while the block runs."""
    stack = ExitStack()
    stack.enter_context(set_while(_threads(settings) or {}))
    # An engine that hears Ctrl-C stops, and takes the answers along that the server wants to end.
    stack.enter_context(starting_deaf({signal.SIGINT}))
    return stack


def _threads(settings: VllmSection) -> dict[str, str] | None:
    return model_threads() if is_cpu_build() and settings.tensor_parallel_size == 1 else None


def make_config(settings: VllmSection, recipe: Recipe, num_gateways: int = 1) -> Any:
    """The ``VllmConfig`` of an engine. Takes a while: vLLM is imported, and reads the model's.

    Raises:
        ConfigError: vLLM would run the model in a way that is refused.
    """
    from vllm import AsyncEngineArgs
    from vllm.config import StructuredOutputsConfig

    cpu = is_cpu_build()
    model, arguments = recipe.model, recipe.arguments
    if not seams.has_tool_parser(settings.tool_parser):
        raise ConfigError(
            f"vLLM has no tool parser '{settings.tool_parser}' (engine.vllm.tool_parser)"
        )
    if _threads(settings) is not None:
        # Else vLLM puts the model of a CPU into a process of its own, for the sake of its threads'
        # environment, and every step is pickled, copied and waited for by looking again and again.
        arguments = {"distributed_executor_backend": seams.in_process_executor(), **arguments}
    engine_arguments = AsyncEngineArgs(
        model=model.source,
        served_model_name=[model.served_name],
        dtype="float32" if settings.dtype == "auto" and cpu else settings.dtype,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tensor_parallel_size,
        load_format=settings.load_format,
        enforce_eager=is_eager(settings, cpu=cpu),
        # Only whole blocks are found again; vLLM's default of 128 on a CPU is many clips.
        **({"block_size": CPU_BLOCK_TOKENS} if cpu else {}),
        # The backend is named, because vLLM keeps the first request's for all others. A model that
        # may write no white space cannot fill its answer with it, and the few tokens of an answer
        # go further.
        structured_outputs_config=StructuredOutputsConfig(
            backend="xgrammar", disable_any_whitespace=True
        ),
        speculative_config=guessing(settings.guessed_tokens),
        disable_log_stats=True,
        use_tqdm_on_load=False,
        seed=0,
        **arguments,
    )
    seams.note_gateways(engine_arguments, num_gateways)
    config = engine_arguments.create_engine_config()
    if model.profile.watching.pause is not None:
        seams.add_logits_processor(config, PAUSE_PROCESSORS)
    if recipe.is_watched:
        check_modes(seams.engine_modes(config))
    return config


def check_guesses(settings: VllmSection, model: Model) -> None:
    """Refuse guesses beside a pause: vLLM takes guessed tokens for a reply without the rule by
    which the pause is held back.

    Raises:
        ConfigError: says so.
    """
    if settings.guessed_tokens and model.profile.watching.pause is not None:
        raise ConfigError(
            f"engine.vllm.guessed_tokens is {settings.guessed_tokens}, and '{model.served_name}' "
            "ends pieces of commentary with a pause (watching.pause of its onlooker.json), which "
            "cannot be held back while tokens are guessed: set engine.vllm.guessed_tokens = 0, or "
            "take watching.pause out of that file"
        )


def guessing(num_tokens: int) -> dict[str, Any] | None:
    """How vLLM guesses tokens ahead; None: not at all."""
    if not num_tokens:
        return None
    lengths = {"prompt_lookup_min": LEAST_ALIKE, "prompt_lookup_max": MOST_ALIKE}
    return {"method": seams.NGRAMS, "num_speculative_tokens": num_tokens, **lengths}


def blank_clips(model: Model, num_clips: int, *, gateway: int = 0) -> list[Clip]:
    """Black clips a second apart, to warm up with, of a stream that each gateway has its own."""
    pixels = np.zeros((model.profile.frame_height, model.profile.frame_width, 3), np.uint8)
    clips = []
    for index in range(num_clips):
        frame = Frame(sequence=index, capture_s=float(index), received_at_s=0.0, pixels=pixels)
        clips.append(Clip(StreamId(f"warm-up-{gateway}"), index, (frame, frame)))
    return clips


def blank_check(model: Model, clip: Clip) -> Check:
    """A check of a blank clip, to warm up with."""
    wording = model.profile.watching
    text, answers = wording.commentary, (wording.silence,)
    return Check(clip.stream_id, text, asked_s=clip.end_s, answers=answers)
