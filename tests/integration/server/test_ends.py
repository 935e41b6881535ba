"""A server that is told to stop ends, whatever holds it."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from onlooker.core.clock import SystemClock
from onlooker.server.last_resort import LastResort
from tests.fakes.waiting import WAIT_S, in_time

HOLDS = {
    "a thread of a pool": """
        from concurrent.futures import ThreadPoolExecutor
        ThreadPoolExecutor(1, "stuck decoder").submit(threading.Event().wait)
    """,
    "the event loop": """
        async def close(self):
            threading.Event().wait()
        ScriptedEngine.close = close
    """,
    "a close that never ends": """
        async def close(self):
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    pass
        ScriptedEngine.close = close
    """,
    "a child process": """
        import multiprocessing, time
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,)).start()
    """,
    "a model that is being loaded": """
        async def load(self, progress):
            while True:
                try:
                    await asyncio.to_thread(threading.Event().wait)
                except asyncio.CancelledError:
                    pass
        ScriptedEngine.start = load
    """,
}

SERVE = """
import asyncio, sys, threading
from onlooker.engine.fake import ScriptedEngine
from onlooker.server import cli
{hold}
sys.argv = ["onlooker", "serve"]
cli.main()
"""


@contextmanager
def served(hold: str = "", **environ: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server in a process of its own, and its address."""
    lines = [line.strip("\n")[8:] for line in hold.splitlines()]
    limits = {"ONLOOKER_SERVER__DRAIN_S": "0.5", "ONLOOKER_SERVER__CLOSE_S": "1.5"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE.format(hold="\n".join(lines))],
        env={
            **os.environ, "ONLOOKER_SERVER__PORT": "0", "ONLOOKER_ENGINE__MODE": "fake",
            **limits, **environ,
        },
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            line = in_time("the port to be open", process.stdout.readline)
            assert "port open at" in line, line
            yield process, line.split()[-1]
        finally:
            process.kill()


def end_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it printed from now on, and its log, once it has ended."""
    return in_time("the server to end", lambda: process.communicate(timeout=WAIT_S))


def until_answers(base: str, path: str) -> None:
    """Ask until something answers, for what is only just being opened."""
    while True:
        with suppress(OSError), urllib.request.urlopen(base + path, timeout=WAIT_S):
            return


@pytest.mark.parametrize("what", HOLDS)
def test_it_ends_although_something_holds_it_and_says_what(what: str) -> None:
    with served(HOLDS[what]) as (process, base):
        path = "/healthz" if "loaded" in what else "/readyz"
        in_time("the server to answer", lambda: until_answers(base, path))
        process.send_signal(signal.SIGTERM)
        _, log = end_of(process)
        told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        last = next(line for line in told if "did not end in time" in line["message"])
        assert process.returncode == 1
        assert last["waited_for"]
        if "thread of a pool" in what:
            assert any("stuck decoder" in name for name in last["threads"])
        if "child" in what:
            assert last["processes"]


def test_readers_of_events_do_not_hold_it() -> None:
    with served(ONLOOKER_SERVER__DRAIN_S="30", ONLOOKER_SERVER__CLOSE_S="30") as (process, base):
        in_time("the server to answer", lambda: until_answers(base, "/readyz"))
        post = urllib.request.Request(
            f"{base}/v1/streams", b'{"id": "door"}', {"content-type": "application/json"}
        )
        urllib.request.urlopen(post, timeout=WAIT_S).close()
        with urllib.request.urlopen(f"{base}/v1/streams/door/events", timeout=WAIT_S) as events:
            process.send_signal(signal.SIGTERM)
            out, _ = end_of(process)
            assert process.returncode == 0
            assert out.splitlines()[-1] == "stopped"
            events.read()


def test_a_second_signal_ends_it_at_once() -> None:
    with served(HOLDS["a close that never ends"], ONLOOKER_SERVER__CLOSE_S="100000") as (
        process,
        base,
    ):
        in_time("the server to answer", lambda: until_answers(base, "/readyz"))
        process.send_signal(signal.SIGTERM)
        # Once it stops it takes no connections; signals that come together would be one.
        in_time("the first signal to be seen", lambda: until_it_drains(base))
        process.send_signal(signal.SIGTERM)
        end_of(process)
        assert process.returncode == 1


def until_it_drains(base: str) -> None:
    """Wait until it says that it is not ready any more, or nothing answers."""
    with suppress(OSError):
        while True:
            urllib.request.urlopen(f"{base}/readyz", timeout=WAIT_S).close()


def test_of_several_limits_the_first_counts() -> None:
    left = threading.Event()
    last_resort = LastResort(SystemClock(), lambda: "a test", leave=lambda status: left.set())
    last_resort.start()
    last_resort.arm(100_000.0)
    last_resort.arm(0.0)
    last_resort.arm(100_000.0)
    try:
        in_time("the last resort", left.wait)
    finally:
        faulthandler.cancel_dump_traceback_later()
