"""`VllmRunner`: one running vLLM, with its errors turned into ours."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, EngineFailed, InvalidRequest, OnlookerError, TooLarge
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Progress
from onlooker.engine.vllm_adapter.config import VllmSection
from onlooker.engine.vllm_adapter.gateway import boot
from onlooker.engine.vllm_adapter.gateway.model_folder import Model

_log = logging.getLogger("onlooker.engine.vllm")

SHUTDOWN_TIMEOUT_S = 5.0
"""How long vLLM's processes get to end by themselves."""

CALL_CHECK_S = 0.5
"""How often it is seen to that an engine that was called still lives."""

_TOO_LONG = ("context length", "max_model_len", "longer than", "maximum model length")
"""What vLLM says in its several ways of refusing a prompt that does not fit."""


class VllmRunner:
    """Starts vLLM, runs requests on it, and says whether it still lives."""

    def __init__(self, settings: VllmSection, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._llm: Any = None  # vllm.AsyncLLM; vLLM is imported only when it is started
        self._dead = False

    async def start(self, model: Model, arguments: dict[str, Any], progress: Progress) -> None:
        """Load `model`; `arguments` are vLLM engine arguments beside those of the settings.

        Raises:
            ConfigError: vLLM is missing, refuses the model, or takes too long.
        """
        self._llm = await boot.start_vllm(
            self._settings, model, arguments, progress=progress, clock=self._clock
        )
        self._dead = False
        self._metrics.engine_up.set(1)

    async def close(self) -> None:
        """Stop vLLM's processes. Idempotent."""
        if self._llm is not None:
            await boot.stop_vllm(self._llm, timeout_s=SHUTDOWN_TIMEOUT_S)
            self._llm = None
        self._metrics.engine_up.set(0)

    def healthy(self) -> bool:
        """Whether requests can still run."""
        alive = self._llm is not None and not self._dead and not self._llm.errored
        self._metrics.engine_up.set(int(alive))
        return bool(alive)

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""
        return self._running.get_tokenizer()

    @property
    def model_config(self) -> Any:
        """The model's Hugging Face config."""
        return self._running.model_config.hf_config

    async def render(self, prompt: dict[str, Any]) -> Any:
        """Tokenise a prompt and preprocess its clips, in vLLM's own threads."""
        try:
            return await boot.render(self._running, prompt)
        except Exception as error:
            raise self._translated(error) from error

    async def ask_workers(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of the worker extension in every worker.

        Raises:
            EngineDead: the engine is gone.
        """
        llm = self._running
        calling = asyncio.ensure_future(llm.collective_rpc(method, args=arguments))
        try:
            # vLLM leaves such calls without an end when the process that should answer dies.
            while not (await asyncio.wait((calling,), timeout=CALL_CHECK_S))[0]:
                if llm.errored:
                    raise EngineDead("the engine died before it answered")
            answers: list[Any] = calling.result()
        except Exception as error:
            raise self._translated(error) from error
        finally:
            calling.cancel()
        return answers

    async def generate(
        self, prompt: Any, sampling: Any, request_id: str
    ) -> AsyncGenerator[Any, None]:
        """Run one rendered request; yields vLLM's outputs. Closing the iterator aborts it.

        Raises:
            TooLarge, InvalidRequest: vLLM refuses what was asked.
            EngineFailed: this request failed.
            EngineDead: the engine is gone.
        """
        outputs = self._running.generate(prompt, sampling, request_id)
        try:
            async for output in outputs:
                yield output
        except (GeneratorExit, asyncio.CancelledError, OnlookerError):
            raise
        except Exception as error:
            raise self._translated(error) from error
        finally:
            await outputs.aclose()

    @property
    def llm(self) -> Any:
        """The running ``AsyncLLM``, for benchmarks that look inside."""
        return self._running

    @property
    def _running(self) -> Any:
        if self._llm is None or self._dead:
            raise EngineDead("the engine is not running")
        return self._llm

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, OnlookerError):
            return error
        if boot.is_engine_dead(error) or self._llm is None or self._llm.errored:
            self._dead = True
            self._metrics.engine_up.set(0)
            _log.error("the engine is dead", exc_info=error)
            return EngineDead("the engine stopped")
        if boot.is_client_error(error):
            if any(hint in str(error) for hint in _TOO_LONG):
                return TooLarge(
                    "the question and the clips in view do not fit the model's context of "
                    f"{self._settings.max_model_len} tokens: ask more briefly",
                    param="question",
                )
            return InvalidRequest("the engine refused the request: " + str(error).splitlines()[0])
        _log.error("a request failed", exc_info=error)
        return EngineFailed("the engine could not run this request; see the server's log")
