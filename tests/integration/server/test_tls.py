"""A server that speaks https and wss by itself."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onlooker.clients.python.client import Client
from onlooker.clients.python.options import ClientOptions
from onlooker.core.errors import InvalidRequest
from onlooker.server.self_signed import TRUST_FILE, self_signed_file
from tests.fakes.served import Served, jpeg, next_event, send, serving
from tests.fakes.waiting import WAIT_S, limited, until

NODE = shutil.which("node")


def with_tls(folder: Path, **overrides: Any) -> Any:
    """A server with a certificate of its own making."""
    overrides = {"server__tls__self_signed": True, **overrides}
    return serving(server__tls__self_signed_dir=str(folder), **overrides)


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / TRUST_FILE)


async def fingerprint(served: Served) -> bytes:
    """The certificate that a new connection is shown."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(*address(served), ssl=anyone)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown)


def address(served: Served) -> tuple[str, int]:
    return "127.0.0.1", int(served.base.rpartition(":")[2])


async def test_https_and_wss_answer_who_trusts_the_certificate(tmp_path: Path) -> None:
    async with with_tls(tmp_path) as served:
        assert served.base.startswith("https://127.0.0.1:")
        async with served.http(verify=trusting(tmp_path)) as http:
            assert (await http.get("/healthz")).status_code == 200
        async with served.ws(ssl=trusting(tmp_path)) as ws:
            await next_event(ws, "session.created")
            await send(ws, "ping")
            await next_event(ws, "pong")


async def test_the_python_client_asks_over_tls_with_its_authority(tmp_path: Path) -> None:
    async with with_tls(tmp_path) as served:
        options = ClientOptions(ca_file=tmp_path / TRUST_FILE)
        async with Client(served.base, options=options) as client:
            assert (await client.models()).data
            async with client.stream() as stream:
                await stream.send_frame(jpeg())
                assert (await stream.ask("What is there?")).text


async def test_the_python_client_says_that_it_does_not_trust(tmp_path: Path) -> None:
    async with with_tls(tmp_path) as served, Client(served.base) as client:
        with pytest.raises(InvalidRequest, match=r"is not trusted.*--ca"):
            async with client.stream():
                pass
        with pytest.raises(InvalidRequest, match=r"is not trusted.*--ca"):
            await client.models()


async def test_a_wrong_authority_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no file with certificates"):
        Client("https://127.0.0.1:1", options=ClientOptions(ca_file=tmp_path / "none.pem"))


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path: Path,
) -> None:
    async with with_tls(tmp_path, server__tls__reload_s=0.05) as served:
        before = await fingerprint(served)
        async with served.ws(ssl=trusting(tmp_path)) as ws:
            await next_event(ws, "session.created")
            (tmp_path / TRUST_FILE).unlink()
            self_signed_file(tmp_path, host="127.0.0.1", wall_s=served.gateway.clock.wall_s())
            async with limited("the new certificate"):
                while await fingerprint(served) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await send(ws, "ping")
            await next_event(ws, "pong")


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\x00" * 100], ids=["http", "zeros"]
)
async def test_what_is_no_tls_is_counted_and_hung_up_on(data: bytes, tmp_path: Path) -> None:
    async with with_tls(tmp_path) as served:
        reader, writer = await asyncio.open_connection(*address(served))
        writer.write(data)
        async with limited("the server to hang up"):
            await reader.read()
        writer.close()
        await until(lambda: served.metric("onlooker_sockets_closed_total", reason="no_tls") == 1)


async def test_who_does_not_finish_the_handshake_is_let_go(tmp_path: Path) -> None:
    async with with_tls(tmp_path, server__guest_patience_s=0.2) as served:
        reader, writer = await asyncio.open_connection(*address(served))
        async with limited("the server to hang up"):
            assert await reader.read() == b""
        writer.close()


async def test_sockets_before_the_handshake_make_room_for_others(tmp_path: Path) -> None:
    async with with_tls(tmp_path, server__max_guests=4) as served:
        idle = [await asyncio.open_connection(*address(served)) for _ in range(12)]
        async with served.http(verify=trusting(tmp_path)) as http:
            assert (await http.get("/healthz")).status_code == 200
        assert served.metric("onlooker_sockets_closed_total", reason="crowded") >= 8
        for _, writer in idle:
            writer.close()


async def test_a_stop_does_not_wait_for_handshakes(tmp_path: Path) -> None:
    async with with_tls(tmp_path, server__guest_patience_s=WAIT_S) as served:
        reader, writer = await asyncio.open_connection(*address(served))
        served.server.should_exit = True
        async with limited("the server to hang up"):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.skipif(NODE is None, reason="needs Node")
async def test_node_connects_with_the_authority_that_it_is_given(tmp_path: Path) -> None:
    script = """
    const https = require("https");
    const request = https.get(process.argv[1] + "/v1/realtime", {headers: {
        Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}});
    request.on("upgrade", (reply, socket) => { console.log(reply.statusCode); socket.destroy(); });
    request.on("response", (reply) => { console.log(reply.statusCode); process.exit(1); });
    """
    async with with_tls(tmp_path) as served:
        process = await asyncio.create_subprocess_exec(
            NODE or "", "-e", script, served.base, stdout=subprocess.PIPE,
            env={"NODE_EXTRA_CA_CERTS": str(tmp_path / TRUST_FILE)},
        )  # fmt: skip
        async with limited("Node"):
            output, _ = await process.communicate()
    assert output.strip() == b"101"
