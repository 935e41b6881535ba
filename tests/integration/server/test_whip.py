"""Video over WebRTC, from an offer to an answer about it. The client is aiortc's."""

import asyncio
import contextlib
import os
import random
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.media import DropReason
from onlooker.streams.events import SourceChanged
from onlooker.streams.stream import Stream
from onlooker.streams.webrtc.seams import IcePath
from tests.fakes.offers import AUDIO, AV1, VP8, candidate, make_offer, video
from tests.fakes.served import KEY, Served, frame_message, jpeg, serving
from tests.fakes.streams import driven, next_event
from tests.fakes.waiting import limited, until
from tests.fakes.whip import PlainVideo, loopback, offered, sending

__all__ = ["loopback"]  # a fixture

pytestmark = pytest.mark.usefixtures("loopback")

SDP = {"content-type": "application/sdp"}
OURS = ("perception", "source", "lookup", "decoder")
"""How the names of a server's threads begin."""

BUSY = {DropReason.MAILBOX_FULL}
"""Why frames may be missing though nothing was wrong with them: the sender goes by the real clock,
and the machine may have too much to do."""

FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}


@asynccontextmanager
async def whip(**overrides: Any) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    """A server, and a client with its key."""
    key = overrides.get("server__api_keys")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with serving(**overrides) as served, served.http(headers=headers) as http:
        yield served, http


async def post(http: httpx.AsyncClient, stream: str, text: str = "") -> httpx.Response:
    return await http.post(f"/v1/whip/{stream}", content=text or make_offer(), headers=SDP)


async def source_of(http: httpx.AsyncClient) -> dict[str, Any]:
    """The source of the stream ``door``, as the stream object tells of it."""
    source: dict[str, Any] = (await http.get("/v1/streams/door")).json()["source"]
    return source


def stream_of(served: Served, name: str) -> Stream:
    return served.gateway.streams_of("default").get(name)


def ended(served: Served, outcome: str) -> bool:
    return served.metric("onlooker_webrtc_sessions_total", outcome=outcome) == 1


# ---- from an offer to an answer about the video


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_what_a_peer_sends_is_kept_and_can_be_asked_about(codec: str) -> None:
    async with (
        whip() as (served, http),
        sending(http, "door", codec=codec, track=PlainVideo("blue")) as session,
    ):
        assert session.reply.status_code == 201, session.reply.text
        stream = stream_of(served, "door")
        await until(lambda: stream.status().clips >= 2)
        asked = await http.post("/v1/streams/door/questions", json={"question": "Which colour?"})
        assert "blue" in asked.text
        told = (await http.get("/v1/streams/door")).json()
        assert told["source"]["kind"] == "push"
        assert told["totals"]["dropped"].keys() <= BUSY


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_losses_are_mended_or_end_with_the_next_key_frame(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, chance = IcePath.data_received, random.Random(7)

    def lossy(self: IcePath, data: bytes, component: int) -> None:
        if not (data[:1] >= b"\x80" and chance.random() < 0.1):
            take(self, data, component)

    monkeypatch.setattr(IcePath, "data_received", lossy)
    track = PlainVideo(width=640, height=480, is_busy=True)
    async with whip() as (served, http), sending(http, "door", codec=codec, track=track):
        await until(lambda: stream_of(served, "door").status().kept >= 8)
        dropped = stream_of(served, "door").status().dropped
        assert dropped.keys() <= BUSY, "nothing wrong is decoded"
        assert served.metric("onlooker_webrtc_key_frames_asked_total") < 8


async def test_more_than_the_bitrate_is_dropped_and_counted() -> None:
    settings = {"max_bits_per_s": 100_000, "min_bits_per_s": 50_000}
    track = PlainVideo(width=640, height=480, is_busy=True)
    async with (
        whip(**{f"streams__webrtc__{name}": value for name, value in settings.items()}) as (
            served,
            http,
        ),
        sending(http, "door", track=track),
    ):
        await until(lambda: served.metric("onlooker_webrtc_dropped_total", what="too_much") > 9)


async def test_it_works_with_decoder_processes_and_with_sound_beside_it() -> None:
    async with (
        whip(decodes_in_processes=True) as (served, http),
        sending(http, "door", codec="H264", has_sound=True),
    ):
        await until(lambda: stream_of(served, "door").status().kept >= 2)


async def test_a_session_that_is_deleted_leaves_its_stream_to_the_next_one() -> None:
    async with whip() as (served, http):
        async with sending(http, "door") as session:
            await until(lambda: stream_of(served, "door").status().kept >= 1)
            assert (await http.delete(session.location)).status_code == 200
            assert stream_of(served, "door").status().source is None
            assert (await http.delete(session.location)).status_code == 200, "said twice"
            assert (await http.delete(session.location + "0")).status_code == 404
        newest_s = stream_of(served, "door").status().newest_s
        async with sending(http, "door"):
            await until(lambda: stream_of(served, "door").status().newest_s != newest_s)


async def test_a_peer_that_hangs_up_ends_its_session() -> None:
    async with whip() as (served, http):
        async with sending(http, "door"):
            await until(lambda: stream_of(served, "door").status().kept >= 1)
        await until(lambda: ended(served, "closed"))
        assert stream_of(served, "door").status().source is None


async def test_one_source_feeds_a_stream_at_a_time() -> None:
    async with whip() as (served, http), sending(http, "door"):
        refused = await post(http, "door")
        assert refused.status_code == 409
        assert "WebRTC session whip_" in refused.json()["error"]["message"]
        async with served.ws("?stream=door") as ws:
            await ws.send(frame_message(jpeg()))
            async with limited("the error"):
                while '"conflict"' not in await ws.recv():
                    pass


async def test_a_peer_is_asked_for_less_where_the_model_looks_at_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with whip() as (served, http), sending(http, "door") as session:
        stream = stream_of(served, "door")
        await until(lambda: stream.status().kept >= 1)
        await until(lambda: session.target_bits_per_s > 1_000_000)
        less = replace(stream.pace, fps=stream.pace.fps / 16)
        monkeypatch.setattr(Stream, "pace", less)
        asked = served.gateway.settings.streams.webrtc.max_bits_per_s // 16
        await until(lambda: 0.99 * asked < session.target_bits_per_s <= asked)


# ---- what is refused, and how it is said


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("hello", 400, "begin with 'v=0'"),
        ("", 400, "begin with 'v=0'"),
        (make_offer(AUDIO), 415, "no video"),
        (make_offer(video(AV1)), 415, "H264, VP8, VP9"),
        ("v=0\r\n" + "a=x\r\n" * 20_000, 413, "bytes"),
    ],
)
async def test_a_bad_offer_opens_no_stream_and_says_what_is_wrong(
    text: str, status: int, words: str
) -> None:
    async with whip() as (_, http):
        reply = await http.post("/v1/whip/door", content=text, headers=SDP)
        assert (reply.status_code, words in reply.text) == (status, True), reply.text
        assert (await http.get("/v1/streams")).json()["data"] == []


async def test_another_media_type_is_refused() -> None:
    async with whip() as (_, http):
        reply = await http.post("/v1/whip/door", json={"sdp": "v=0"})
        assert reply.status_code == 415
        assert "application/sdp" in reply.text


@pytest.mark.parametrize("path", ["door", "door/whip_1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_what_is_no_part_of_whip_is_refused(method: str, path: str) -> None:
    async with whip() as (_, http):
        reply = await http.request(method, f"/v1/whip/{path}")
        assert reply.status_code == 405
        assert reply.headers["allow"].endswith("OPTIONS")


async def test_thousands_of_addresses_cost_a_few_checks() -> None:
    lines = tuple(candidate(f"127.0.{n // 250}.{n % 250 + 1}", port=9) for n in range(1000))
    settings = {"streams__webrtc__max_candidates": 5, "streams__webrtc__max_offer_bytes": 70_000}
    async with whip(**settings) as (served, http):
        assert (await post(http, "door", make_offer(video(VP8, more=lines)))).is_success
        assert served.metric("onlooker_webrtc_dropped_total", what="candidate") == 995


async def test_addresses_that_may_not_be_sent_to_are_left_out() -> None:
    lines = (candidate("169.254.169.254"), candidate("db.local"), candidate("127.0.0.1", port=9))
    async with whip() as (served, http):
        assert (await post(http, "door", make_offer(video(VP8, more=lines)))).is_success
        assert served.metric("onlooker_webrtc_dropped_total", what="candidate") == 2


async def test_sessions_are_bounded_in_all_and_for_each_tenant() -> None:
    keys = "acme:key-of-acme,bolt:key-of-bolt"
    limits: dict[str, Any] = {
        "streams__webrtc__max_sessions": 2,
        "streams__webrtc__max_tenant_sessions": 1,
    }
    async with serving(server__api_keys=keys, **limits) as served, served.http() as http:

        async def begin(tenant: str, stream: str) -> httpx.Response:
            headers = {**SDP, "authorization": f"Bearer key-of-{tenant}"}
            return await http.post(f"/v1/whip/{stream}", content=make_offer(), headers=headers)

        assert (await begin("acme", "one")).status_code == 201
        refused = await begin("acme", "two")
        assert refused.status_code == 503
        assert "max_tenant_sessions" in refused.text
        assert (await begin("bolt", "one")).status_code == 201
        assert "max_sessions" in (await begin("bolt", "two")).text
        assert served.metric("onlooker_webrtc_sessions_active") == 2


async def test_a_tenant_cannot_end_the_session_of_another() -> None:
    keys = "acme:key-of-acme,bolt:key-of-bolt"
    async with serving(server__api_keys=keys) as served, served.http() as http:
        acme, bolt = ({"authorization": f"Bearer key-of-{one}"} for one in ("acme", "bolt"))
        begun = await http.post("/v1/whip/door", content=make_offer(), headers={**SDP, **acme})
        await http.post("/v1/streams", json={"id": "door"}, headers=bolt)
        location = begun.headers["location"]
        assert (await http.delete(location, headers=bolt)).status_code == 404
        assert (await http.delete(location)).status_code == 401
        assert (await http.delete(location, headers=acme)).status_code == 200


async def test_a_stream_on_the_virtual_clock_takes_no_webrtc() -> None:
    async with whip() as (_, http):
        await http.post("/v1/streams", json={"id": "film", "clock": "virtual"})
        reply = await post(http, "film")
        assert reply.status_code == 400
        assert "virtual clock" in reply.text


async def test_no_free_port_is_an_overload_and_closes_what_was_opened() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ports = {"streams__webrtc__min_port": port, "streams__webrtc__max_port": port}
        async with whip(**ports) as (_, http):
            reply = await post(http, "door")
            assert reply.status_code == 503
            assert "streams.webrtc.min_port" in reply.text
            assert (await http.get("/v1/streams")).json()["data"] == []


async def test_without_the_extra_the_reply_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiortc", None)
    async with whip() as (_, http):
        reply = await post(http, "door")
        assert reply.status_code == 501
        assert reply.json()["error"]["code"] == "not_installed"
        assert "onlooker[webrtc]" in reply.text


# ---- the protocol's edges


async def test_the_answer_names_ports_of_the_range_and_announced_addresses() -> None:
    settings = {
        "streams__webrtc__min_port": 42_000,
        "streams__webrtc__max_port": 42_063,
        "streams__webrtc__announced_addresses": ("203.0.113.7",),
    }
    async with whip(**settings) as (_, http):
        lines = (await post(http, "door")).text.splitlines()
    found = [line.split() for line in lines if line.startswith("a=candidate:")]
    assert [words[4] for words in found] == ["127.0.0.1", "203.0.113.7"]
    assert all(42_000 <= int(words[5]) <= 42_063 for words in found)


async def test_replies_carry_what_whip_clients_read() -> None:
    settings = {
        "server__api_keys": KEY,
        "server__allowed_origins": ("https://app.example.org",),
        "streams__webrtc__turn_server": "127.0.0.1:9",
        "streams__webrtc__turn_username": "me",
        "streams__webrtc__turn_password": 'pass"word',
    }
    async with whip(**settings) as (_, http):
        turn = (
            '<turn:127.0.0.1:9?transport=udp>; rel="ice-server"; username="me"; '
            'credential="pass\\"word"; credential-type="password"'
        )
        asked = await http.options("/v1/whip/door")
        assert asked.status_code == 204
        assert asked.headers["accept-post"] == "application/sdp"
        assert asked.headers["link"] == turn
        stranger = await http.options("/v1/whip/door", headers={"authorization": "Bearer no-key-x"})
        assert stranger.status_code == 204
        assert "link" not in stranger.headers
        origin = {"origin": "https://app.example.org"}
        preflight = {**origin, "access-control-request-method": "POST"}
        allowed = await http.options("/v1/whip/door", headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == origin["origin"]


async def test_a_web_page_of_another_origin_may_read_location_and_tag() -> None:
    async with whip(server__allowed_origins=("https://app.example.org",)) as (_, http):
        headers = {**SDP, "origin": "https://app.example.org"}
        reply = await http.post("/v1/whip/door", content=make_offer(), headers=headers)
        told = reply.headers["access-control-expose-headers"]
        assert {"Location", "ETag", "Link"} <= set(told.split(", "))


async def test_addresses_may_come_later() -> None:
    async with whip() as (served, http):
        track = PlainVideo()
        peer, offer = await offered("VP8", track)
        lines = offer.splitlines()
        named = [line for line in lines if line.startswith("a=candidate")]
        ufrag = next(line for line in lines if line.startswith("a=ice-ufrag"))
        rest = "\r\n".join(line for line in lines if line not in named) + "\r\n"
        reply = await post(http, "door", rest)
        assert reply.status_code == 201
        location, tag = reply.headers["location"], reply.headers["etag"]
        fragment = "\r\n".join([ufrag, *named]) + "\r\n"

        async def patch(text: str, **headers: str) -> int:
            sent = {**FRAGMENT, **{name.replace("_", "-"): v for name, v in headers.items()}}
            return (await http.patch(location, content=text, headers=sent)).status_code

        assert await patch(fragment) == 428
        assert await patch(fragment, if_match='"other"') == 412
        assert await patch(fragment, if_match="*") == 422
        assert await patch("a=ice-ufrag:zzzz\r\n", if_match=tag) == 422
        assert await patch("nonsense", if_match=tag) == 400
        assert (await http.patch(location, json={}, headers={"if-match": tag})).status_code == 415
        assert await patch(fragment, if_match=tag) == 204
        assert served.metric("onlooker_webrtc_dropped_total", what="candidate") == 0
        await peer.close()
        track.stop()


# ---- how it ends


async def test_a_session_nobody_connects_to_fails_and_says_why() -> None:
    clock = ManualClock()
    async with whip(clock=clock) as (served, http):
        assert (await post(http, "door")).status_code == 201
        assert (await source_of(http))["state"] == "opening", "no picture has come"
        events = stream_of(served, "door").subscribe(max_events=50)
        told = await driven(clock, next_event(events, SourceChanged), step_s=0.5)
        events.close()
        assert told.state == "failed"
        assert "no connection within 20 s: no UDP packets" in told.detail
        await until(lambda: ended(served, "unreachable"))
        source = await source_of(http)
        assert (source["kind"], source["state"]) == ("push", "failed")
        assert "no connection within 20 s: no UDP packets" in source["reason"]


async def test_an_offer_that_could_not_begin_leaves_its_reason() -> None:
    async with whip(streams__webrtc__addresses="192.0.2.1") as (_, http):
        await http.post("/v1/streams", json={"id": "door"})
        assert (await post(http, "door")).status_code == 503
        source = await source_of(http)
        assert (source["state"], source["reason"]) == ("failed", "it could not begin")


async def test_a_stream_tells_how_its_session_goes_and_why_it_ended() -> None:
    async with whip() as (served, http):
        await http.post("/v1/streams", json={"id": "door"})
        events = stream_of(served, "door").subscribe(max_events=200)
        async with sending(http, "door") as session:
            assert (await next_event(events, SourceChanged)).source.state == "opening"
            assert (await next_event(events, SourceChanged)).state == "playing"
            assert (await source_of(http))["state"] == "playing"
            await http.delete(session.location)
            told = await next_event(events, SourceChanged)
        assert (told.state, told.source.reason) == ("ended", "its client ended it")
        source = await source_of(http)
        assert (source["kind"], source["state"]) == ("push", "ended")
        assert source["reason"] == "its client ended it"
        events.close()


async def test_a_session_without_pictures_ends() -> None:
    async with whip(streams__webrtc__idle_s=0.5) as (served, http):
        track = PlainVideo()
        async with sending(http, "door", track=track):
            await until(lambda: stream_of(served, "door").status().kept >= 1)
            track.stop()
            await until(lambda: ended(served, "idle") or ended(served, "closed"))
            source = await source_of(http)
        assert stream_of(served, "door").status().source is None
        assert (source["state"], source["reason"]) == (
            "failed",
            "no picture came for 0.5 s (setting streams.webrtc.idle_s)",
        )


async def test_a_session_ends_with_its_stream() -> None:
    async with whip() as (served, http), sending(http, "door") as session:
        await until(lambda: stream_of(served, "door").status().kept >= 1)
        await http.delete("/v1/streams/door")
        await until(lambda: ended(served, "stream_closed"))
        await until(lambda: session.peer.connectionState != "connected")


async def test_a_session_ends_with_the_token_that_began_it() -> None:
    clock = ManualClock()
    async with whip(server__api_keys=KEY, clock=clock) as (served, http):
        made = await http.post(
            "/v1/realtime/client_secrets",
            json={"scopes": ["push"], "expires_after": {"seconds": 10}},
        )
        headers = {**SDP, "authorization": f"Bearer {made.json()['value']}"}
        begun = await http.post("/v1/whip/door", content=make_offer(), headers=headers)
        assert begun.status_code == 201, begun.text
        await driven(clock, until(lambda: ended(served, "expired")), step_s=0.5)


async def test_a_server_that_stops_says_so_and_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    async with contextlib.AsyncExitStack() as stack:
        served, http = await stack.enter_async_context(whip(server__drain_s=30.0))
        session = await stack.enter_async_context(sending(http, "door"))
        await until(lambda: stream_of(served, "door").status().kept >= 1)
        served.server.should_exit = True
        await until(lambda: ended(served, "shutdown"))
        assert not served.gateway.connections
        await until(lambda: session.peer.connectionState == "closed")
    # The client's encoder keeps threads of the loop's own pool; ours have other names.
    await until(
        lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith(OURS)]
    )


async def test_a_hundred_sessions_leave_no_task_socket_or_lease_behind() -> None:
    async with whip() as (served, http):
        await post_and_delete(http)
        before, sockets = len(asyncio.all_tasks()), num_open_files()
        for _ in range(100):
            await post_and_delete(http)
        await until(lambda: len(asyncio.all_tasks()) <= before)
        assert num_open_files() <= sockets
        assert served.metric("onlooker_webrtc_sessions_active") == 0
        assert stream_of(served, "door").status().source is None


async def post_and_delete(http: httpx.AsyncClient) -> None:
    begun = await post(http, "door")
    assert begun.status_code == 201
    assert (await http.delete(begun.headers["location"])).status_code == 200


def num_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
