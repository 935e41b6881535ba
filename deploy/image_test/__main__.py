"""`make image-test`: builds the CPU image, starts the compose stack, uses it, and takes it down;
then a fleet of three servers behind their door, of which one is killed.

Needs Docker with its compose plugin, or podman, buildah and podman-compose. Where no registry of
images can be reached, ``--stand-ins`` makes the bases out of Debian's packages; Grafana, which
Debian does not have, is left out then.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.image_test.checks import (
    EVER,
    NUM_SECONDS,
    PROMETHEUS,
    CheckFailed,
    ask,
    is_ready,
    scraped,
    seen_early,
    show,
    until,
)
from deploy.image_test.fleet import NUM_SERVERS, use_fleet
from deploy.image_test.stack import FLEET, ROOT, Stack, StackFailed
from onlooker.clients.python import Client
from onlooker.core.errors import OnlookerError

STREAM = "door"


async def sees_one(http: httpx.AsyncClient) -> bool:
    return await scraped(http, "onlooker") == 1


async def use(stack: Stack, base_url: str, ready_s: float) -> None:
    """Everything that is looked at while the stack runs."""
    async with Client(base_url, api_key=stack.key) as client:
        await until("the server is ready", ready_s, lambda: is_ready(client))
        async with client.stream(STREAM, clock="virtual") as stream:
            await show(stream, 0, NUM_SECONDS)
        question = EVER.format(seen_early())
        before = await ask(client, STREAM, question)
        stack.kill("onlooker")
        stack.start("onlooker")
        await until("the killed server is ready again", ready_s, lambda: is_ready(client))
        await client.create_stream(STREAM, clock="virtual")  # which finds its memory
        after = await ask(client, STREAM, question)
        if after != before:
            raise CheckFailed(f"'{before}' before the kill, '{after}' after it")
    async with httpx.AsyncClient(base_url=PROMETHEUS, trust_env=False) as http:
        await until("Prometheus scrapes the server", 60, lambda: sees_one(http))
        rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]
        names = [rule["name"] for group in rules for rule in group["rules"]]
        if "OnlookerServerGone" not in names:
            raise CheckFailed(f"Prometheus has other alerts: {names}")
        print(f"ok    {len(names)} alerts are loaded", flush=True)


@contextmanager
def running(
    stack: Stack, services: Sequence[str], *, logs_of: str, num_servers: int = 1
) -> Iterator[None]:
    """While the block runs, so do these services; when it fails, they say their last lines."""
    try:
        stack.up(services, num_servers=num_servers)
        yield
    except BaseException:
        stack.logs(logs_of)
        raise
    finally:
        stack.down()


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
    parser.add_argument("--part", choices=("server", "fleet"), help="default: one after the other")
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
    beside = ["redis", "prometheus"] if options.stand_ins else ["redis", "prometheus", "grafana"]
    try:
        if options.stand_ins:
            stack.make_stand_ins()
        stack.build(options.build_option)
        if options.part != "fleet":
            with running(stack, [*beside, "onlooker"], logs_of="onlooker"):
                asyncio.run(use(stack, "http://127.0.0.1:8000", options.ready_s))
        if options.part != "server":
            fleet = [*beside, FLEET, "onlooker-door"]
            with running(stack, fleet, logs_of=FLEET, num_servers=NUM_SERVERS):
                asyncio.run(use_fleet(stack, "http://127.0.0.1:8002", options.ready_s))
    except (StackFailed, CheckFailed, OnlookerError) as error:
        print(f"FAIL  {error}", file=sys.stderr)
        return 1
    print("image test passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
