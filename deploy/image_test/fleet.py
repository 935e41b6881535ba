"""Three servers behind their door: streams go on when the one that has most of them is killed."""

import asyncio
from contextlib import AsyncExitStack

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
from deploy.image_test.stack import FLEET, Stack
from onlooker.clients.python import Client
from onlooker.core.protocol.http import ServerList, ServerObject

NUM_SERVERS = 3
STREAMS = ("door", "yard", "gate")


async def use_fleet(stack: Stack, base_url: str, ready_s: float) -> None:
    """Everything that is looked at while the fleet runs."""
    key = {"authorization": f"Bearer {stack.key}"}
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(Client(base_url, api_key=stack.key))
        door = await opened.enter_async_context(
            httpx.AsyncClient(base_url=base_url, headers=key, trust_env=False, timeout=30)
        )
        prometheus = await opened.enter_async_context(
            httpx.AsyncClient(base_url=PROMETHEUS, trust_env=False)
        )

        async def all_are_ready() -> bool:
            return len(await ready_servers(door)) == NUM_SERVERS

        async def all_are_scraped() -> bool:
            return await scraped(prometheus, FLEET) == NUM_SERVERS

        await until("a server is ready behind the door", ready_s, lambda: is_ready(client))
        await until(f"{NUM_SERVERS} servers are ready", ready_s, all_are_ready)
        await until(f"Prometheus scrapes {NUM_SERVERS} servers", 60, all_are_scraped)
        streams = [
            await opened.enter_async_context(client.stream(name, clock="virtual"))
            for name in STREAMS
        ]
        await asyncio.gather(*(show(one, 0, NUM_SECONDS // 2) for one in streams))
        question = EVER.format(seen_early())
        before = [await ask(client, name, question) for name in STREAMS]
        busiest = max(await ready_servers(door), key=lambda server: server.streams)
        stack.kill_container(busiest.name.partition(":")[0])  # its host's name is its container
        print(
            f"ok    killed {busiest.name}, which had {busiest.streams} of the streams", flush=True
        )
        await asyncio.gather(*(show(one, NUM_SECONDS // 2, NUM_SECONDS) for one in streams))
        after = [await ask(client, name, question) for name in STREAMS]
        if after != before:
            raise CheckFailed(f"{before} before a server was killed, {after} after it")
        left = await ready_servers(door)
        if sum(server.streams for server in left) != len(STREAMS):
            raise CheckFailed(f"not every stream has one owner: {left}")
        print(f"ok    {len(left)} servers have all {len(STREAMS)} streams", flush=True)


async def ready_servers(door: httpx.AsyncClient) -> list[ServerObject]:
    """The servers that take work, as they say themselves; none where nobody answers."""
    try:
        reply = await door.get("/v1/servers")
        reply.raise_for_status()
    except httpx.HTTPError:
        return []
    servers = ServerList.model_validate_json(reply.content).data
    return [server for server in servers if server.status == "ready"]
