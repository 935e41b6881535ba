"""`make image-test`: builds the CPU image, starts the compose stack, uses it, and takes it down.

Needs Docker with its compose plugin, or podman, buildah and podman-compose. Where no registry of
images can be reached, ``--stand-ins`` makes the bases out of Debian's packages; Grafana, which
Debian does not have, is left out then.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from deploy.image_test.stack import ROOT, Stack, StackFailed
from onlooker.clients.python import Client
from onlooker.core.errors import OnlookerError
from onlooker.core.jpeg import encode_jpeg
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World

STREAM = "door"
NUM_SECONDS = 60
SIDE = 144
WORLD = World(5)
PROMETHEUS = "http://127.0.0.1:9090"
EVER = "Was there ever a {}?"


class CheckFailed(Exception):
    """The stack runs and does not do what it should."""


async def until(what: str, limit_s: float, look: Callable[[], Awaitable[bool]]) -> None:
    """Look every second until it is so.

    Raises:
        CheckFailed: it is not so after `limit_s`.
    """
    started_s = time.monotonic()
    while not await look():
        if time.monotonic() - started_s > limit_s:
            raise CheckFailed(f"{what}: not so after {limit_s:g} s")
        await asyncio.sleep(1)
    print(f"ok    {what} after {time.monotonic() - started_s:.0f} s", flush=True)


async def is_ready(client: Client) -> bool:
    """Whether the server takes questions; no answer at all means that it does not."""
    try:
        return await client.ready()
    except OnlookerError:
        return False


def seen_early() -> str:
    """Something that was to be seen in the first ten seconds of the world."""
    for second in range(10):
        for thing in WORLD.state_at(second + 0.5).objects:
            return " ".join(thing.kind)
    raise CheckFailed("the drawn world is empty for ten seconds")


async def watch(client: Client) -> None:
    """Show the server a minute of the drawn world."""
    async with client.stream(STREAM, clock="virtual") as stream:
        for second in range(NUM_SECONDS):
            for time_s in (second, second + 0.5):
                picture = encode_jpeg(render(WORLD.state_at(time_s), SIDE, SIDE))
                await stream.send_frame(picture, at_s=time_s)
        await stream.drain(timeout_s=300)


async def ask(client: Client, question: str) -> str:
    """Ask about the stream; the answer rests on all of its memory.

    Raises:
        CheckFailed: some of the memory is missing.
    """
    reply = await client.ask(STREAM, question)
    if reply.onlooker.memory_incomplete:
        raise CheckFailed(f"'{question}' was answered without all of the memory")
    print(f"ok    {question} {reply.answer}", flush=True)
    return reply.answer


async def prometheus_sees(http: httpx.AsyncClient) -> bool:
    """Whether Prometheus scrapes the server."""
    try:
        reply = (await http.get("/api/v1/targets")).json()
    except httpx.HTTPError:
        return False
    active = reply["data"]["activeTargets"]
    targets = [target for target in active if target["labels"].get("service") == "onlooker"]
    return bool(targets) and all(target["health"] == "up" for target in targets)


async def use(stack: Stack, base_url: str, ready_s: float) -> None:
    """Everything that is looked at while the stack runs."""
    async with Client(base_url, api_key=stack.key) as client:
        await until("the server is ready", ready_s, lambda: is_ready(client))
        await watch(client)
        question = EVER.format(seen_early())
        before = await ask(client, question)
        stack.kill("onlooker")
        stack.start("onlooker")
        await until("the killed server is ready again", ready_s, lambda: is_ready(client))
        await client.create_stream(STREAM, clock="virtual")  # which finds its memory
        after = await ask(client, question)
        if after != before:
            raise CheckFailed(f"'{before}' before the kill, '{after}' after it")
    async with httpx.AsyncClient(base_url=PROMETHEUS, trust_env=False) as http:
        await until("Prometheus scrapes the server", 60, lambda: prometheus_sees(http))
        rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]
        names = [rule["name"] for group in rules for rule in group["rules"]]
        if "OnlookerServerGone" not in names:
            raise CheckFailed(f"Prometheus has other alerts: {names}")
        print(f"ok    {len(names)} alerts are loaded", flush=True)


def answers(engine: str) -> bool:
    """Whether a container engine is installed and does its work."""
    found = shutil.which(engine)
    return found is not None and not subprocess.run([found, "info"], capture_output=True).returncode


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="make image-test ARGS=...")
    parser.add_argument("--engine", choices=("docker", "podman"), help="default: what works here")
    parser.add_argument("--stand-ins", action="store_true", help="bases out of Debian's packages")
    parser.add_argument("--build-option", action="append", default=[], metavar="OPTION",
                        help="goes to the builder; several times for several")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "images",
                        help="where podman keeps what it needs (default: runs/images)")  # fmt: skip
    parser.add_argument("--ready-s", type=float, default=300, help="how long a start may take")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    engine = options.engine or next(filter(answers, ("docker", "podman")), None)
    if engine is None:
        print(
            "neither docker nor podman can be used here: is its service running?", file=sys.stderr
        )
        return 2
    stack = Stack(engine, options.folder.resolve())
    stack.prepare()
    services = ["redis", "prometheus", "onlooker"]
    if not options.stand_ins:
        services.append("grafana")
    try:
        if options.stand_ins:
            stack.make_stand_ins()
        stack.build(options.build_option)
        try:
            stack.up(services)
            asyncio.run(use(stack, "http://127.0.0.1:8000", options.ready_s))
        except BaseException:
            stack.logs("onlooker")
            raise
        finally:
            stack.down()
    except (StackFailed, CheckFailed, OnlookerError) as error:
        print(f"FAIL  {error}", file=sys.stderr)
        return 1
    print("image test passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
