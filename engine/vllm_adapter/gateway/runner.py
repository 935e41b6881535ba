"""`VllmRunner`: one running vLLM, with its errors turned into ours."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, EngineFailed, InvalidRequest, OnlookerError, TooLarge
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import cancel
from onlooker.engine.config import VllmSection
from onlooker.engine.interface import Progress
from onlooker.engine.shared_core import CoreSeat, SharedCore
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway import boot, sampling
from onlooker.engine.vllm_adapter.gateway.boot import Recipe
from onlooker.engine.vllm_adapter.wire import WorkerCall

_log = logging.getLogger("onlooker.engine.vllm")

R = TypeVar("R")

SHUTDOWN_TIMEOUT_S = 5.0
"""How long vLLM's processes get to end by themselves."""

CALL_CHECK_S = 0.5
"""How often, in seconds, it is checked that an engine that was called still lives."""

_TOO_LONG = ("context length", "max_model_len", "longer than", "maximum model length")
"""What vLLM says in its several ways of refusing a prompt that does not fit."""


class VllmRunner:
    """Starts vLLM, runs requests on it, and says whether it still lives."""

    def __init__(
        self,
        settings: VllmSection,
        clock: Clock,
        metrics: Metrics,
        core: SharedCore | None = None,
    ) -> None:
        """`core`: the engine core of several gateways; None starts one of this gateway's own."""
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._core = core
        self._llm: Any = None  # vllm.AsyncLLMEngine; vLLM is imported only when it is started
        self._dead = False
        self._pause_id: int | None = None
        self._seat: CoreSeat | None = None
        self._lost_life: int | None = None
        """The newest life in which the shared core was seen to die."""
        self._watching: asyncio.Task[None] | None = None

    @property
    def gateway(self) -> int:
        """Which of the gateways that share the engine this is, counted from 0."""
        return 0 if self._core is None else self._core.gateway

    @property
    def num_gateways(self) -> int:
        """Gateways that share the engine."""
        return 1 if self._core is None else self._core.num_gateways

    async def start(self, recipe: Recipe, progress: Progress) -> None:
        """Load a model, or find the engine that has loaded it.

        Raises:
            ConfigError: vLLM is missing, refuses the model, or takes too long; or the model's
                profile names a pause that is no token of it.
        """
        self._llm = await boot.start_vllm(
            self._settings,
            recipe,
            progress=progress,
            clock=self._clock,
            num_gateways=self.num_gateways,
            get_seat=None if self._core is None else partial(self._sit_down, self._core),
            gone=None if self._core is None else self._core.gone,
        )
        self._dead = False
        seams.note_end_token(self._llm)
        pause = recipe.model.profile.watching.pause
        self._pause_id = sampling.pause_token(self.tokenizer, pause)
        if self._core is not None and self._seat is not None:
            losing = self._lose(self._llm, self._core, self._seat.life)
            self._watching = asyncio.create_task(losing, name="shared core")
        self._metrics.engine_up.set(1)

    async def close(self) -> None:
        """Stop vLLM's processes, or leave those of a shared engine. Idempotent."""
        if self._watching is not None:
            watching, self._watching = self._watching, None
            await cancel(watching)
        if self._llm is not None:
            if self._seat is not None and seams.has_lost_core(self._llm):
                self._lost_life = self._seat.life
            await seams.stop(self._llm, timeout_s=SHUTDOWN_TIMEOUT_S)
            self._llm = None
        self._metrics.engine_up.set(0)

    def healthy(self) -> bool:
        """Whether requests can still run."""
        alive = self._llm is not None and not self._dead and not seams.has_failed(self._llm)
        self._metrics.engine_up.set(int(alive))
        return bool(alive)

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""
        return self._running.get_tokenizer()

    @property
    def pause_id(self) -> int | None:
        """The token of the model's pause; None where it has none."""
        return self._pause_id

    def call_finder(self) -> seams.CallFinder:
        """What finds calls of functions in one answer of the model."""
        return seams.CallFinder(self._settings.tool_parser, self.tokenizer)

    @property
    def model_config(self) -> Any:
        """The model's Hugging Face config."""
        return seams.hf_config(self._running)

    async def render(self, prompt: dict[str, Any]) -> Any:
        """Tokenise a prompt and preprocess its clips, in vLLM's own threads."""
        try:
            return await seams.render(self._running, prompt)
        except Exception as error:
            raise self._translated(error) from error

    async def ask_workers(self, call: WorkerCall[R]) -> list[R]:
        """Ask every worker; see `onlooker.engine.vllm_adapter.wire.WorkerCall`.

        Raises:
            EngineDead: the engine is gone.
        """
        llm = self._running
        calling = asyncio.ensure_future(llm.collective_rpc(call.method, args=call.args))
        try:
            # vLLM leaves such calls without an end when the process that should answer dies.
            while not (await asyncio.wait((calling,), timeout=CALL_CHECK_S))[0]:
                if seams.has_failed(llm):
                    raise EngineDead("the engine died before it answered")
            return [call.read(answer) for answer in calling.result()]
        except Exception as error:
            raise self._translated(error) from error
        finally:
            calling.cancel()

    @asynccontextmanager
    async def outputs(
        self, prompt: Any, sampling: Any, request_id: str
    ) -> AsyncGenerator[AsyncIterator[Any], None]:
        """Run one request; gives vLLM's own iterator of its outputs. Leaving the block aborts it.

        Raises, out of the block:
            TooLarge, InvalidRequest: vLLM refuses what was asked.
            EngineFailed: this request failed.
            EngineDead: the engine is gone.
        """
        outputs = self._running.generate(prompt, sampling, request_id)
        try:
            yield outputs
        except (GeneratorExit, asyncio.CancelledError, OnlookerError):
            raise
        except Exception as error:
            raise self._translated(error) from error
        finally:
            await outputs.aclose()

    async def last_output(self, prompt: Any, sampling: Any, request_id: str) -> Any:
        """Run one request to its end and return the output that says so.

        Raises: what `outputs` does.
        """
        last = None
        async with self.outputs(prompt, sampling, request_id) as outputs:
            async for output in outputs:
                last = output
        if last is None or not last.finished:
            raise EngineFailed("the engine gave no result")
        return last

    @property
    def llm(self) -> Any:
        """The running ``AsyncLLM``, for benchmarks that look inside."""
        return self._running

    async def _sit_down(self, core: SharedCore) -> CoreSeat:
        self._seat = await core.seat(dead_life=self._lost_life)
        return self._seat

    async def _lose(self, llm: Any, core: SharedCore, life: int) -> None:
        """A core that ends without a word tells nobody; whoever started it does."""
        await core.gone(life)
        seams.lose_core(llm)

    @property
    def _running(self) -> Any:
        if self._llm is None or self._dead:
            raise EngineDead("the engine is not running")
        return self._llm

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, OnlookerError):
            return error
        if seams.is_engine_dead(error) or self._llm is None or seams.has_failed(self._llm):
            self._dead = True
            self._metrics.engine_up.set(0)
            _log.error("the engine is dead", exc_info=error)
            return EngineDead("the engine stopped")
        if seams.is_client_error(error):
            if any(hint in str(error) for hint in _TOO_LONG):
                return TooLarge(
                    "the question and the clips in view do not fit the model's context of "
                    f"{self._settings.max_model_len} tokens: ask more briefly",
                    param="question",
                )
            return InvalidRequest("the engine refused the request: " + str(error).splitlines()[0])
        _log.error("a request failed", exc_info=error)
        return EngineFailed("the engine could not run this request; see the server's log")
