"""Attacks on rights: a token that reads does what only a key may."""

import asyncio
from contextlib import suppress

from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import HUNG_UP, AttackTarget

STREAM = "watched"
CONDITION = {"condition": "tell me when a red circle appears"}
WEBHOOK = {"url": "http://127.0.0.1:9/never"}


async def token_misuse(target: AttackTarget, tally: AttackTally) -> None:
    """A short-lived token changes watches over both doors; all of it must be refused."""
    async with target.http() as client:
        await client.post("/v1/streams", json={"id": STREAM})
        await client.post(f"/v1/streams/{STREAM}/watches", json={"id": "mine", **CONDITION})
        reply = await client.post("/v1/realtime/client_secrets", json={})
        reply.raise_for_status()
        token = reply.json()["value"]
        shown = {"authorization": f"Bearer {token}"}
        for method, path, body in (
            ("POST", "/v1/streams", {}),
            ("POST", f"/v1/streams/{STREAM}/watches", CONDITION),
            ("DELETE", f"/v1/streams/{STREAM}/watches/mine", None),
            ("DELETE", f"/v1/streams/{STREAM}", None),
        ):
            tally.refusal(
                (await client.request(method, path, json=body, headers=shown)).status_code
            )
        with suppress(TimeoutError, *HUNG_UP):
            async with asyncio.timeout(target.seconds):
                await _change_watches(target, tally, token)
        await client.delete(f"/v1/streams/{STREAM}")


async def _change_watches(target: AttackTarget, tally: AttackTally, token: str) -> None:
    events = (
        {"type": "stream.watch.create", "watch": {"id": "new", **CONDITION, "webhook": WEBHOOK}},
        {"type": "stream.watch.create", "watch": {"id": "newer", **CONDITION}},
        {"type": "stream.watch.update", "watch_id": "mine", "watch": {"paused": True}},
        {"type": "stream.watch.delete", "watch_id": "mine"},
    )
    async with target.realtime(key=token, stream=STREAM) as link:
        for event in events:
            await link.send(event)
            answer = await link.until("stream.watch", "error")
            if answer is None:
                tally.close(link.close_code)
                tally.held[f"close {link.close_code}"] += 1
                return
            if answer["type"] == "stream.watch":
                tally.gave_way[f"{event['type']} {answer['change']}"] += 1
            elif answer["error"]["type"] == "permission_error":
                tally.error(answer)
            else:
                tally.fault_of(answer)
                tally.noted[f"error {answer['error']['code']}"] += 1
