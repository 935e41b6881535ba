"""`onlooker serve` with the demo model, in a process of its own."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.vllm.test_engines import MODEL


class RealServer:
    """One server after the other with the same settings."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = {
            "streams.perception.gate_threshold": 0.0,
            "engine.vllm.max_model_len": 1024,
            **settings,
        }
        self.base = ""

    async def start(self) -> None:
        """Return when it takes traffic."""
        arguments = [f"--set={name}={value}" for name, value in self._settings.items()]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "onlooker.server", "serve", "--port", "0", "--mode", "segments",
            "--model", MODEL, *arguments, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode()
            if "port open at " in text:
                self.base = text.split("port open at ")[1].strip()
            if text.startswith("ready"):
                return
        pytest.fail("the server ended before it was ready")

    def terminate(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """End it without warning. Idempotent."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
