"""`onlooker watch` and `onlooker demo`, as somebody at a terminal starts them."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from onlooker.clients.python.child import free_port
from onlooker.demo_model.video import write_video
from tests.fakes.onvif_camera import onvif_camera
from tests.fakes.served import serving
from tests.fakes.waiting import WAIT_S, limited

START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from onlooker.server.cli import main; main()"
)
"""As from a terminal: a shell that runs the tests in the background lets them ignore Ctrl-C, and
what a process ignores its children ignore too."""


async def start(*arguments: str, **environ: str) -> asyncio.subprocess.Process:
    inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-X", "faulthandler", "-c", START, *arguments,
        env={**inherited, "COLUMNS": "200", **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = await start(*arguments, **environ)
    return await end_of(process)


async def end_of(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """Exit status, standard output, standard error once it has ended by itself."""
    ended = asyncio.create_task(process.communicate())
    await asyncio.wait((ended,), timeout=WAIT_S)
    if not (in_time := ended.done()):
        process.send_signal(signal.SIGABRT)  # it dies saying where its threads are
    out, err = await ended
    assert in_time, f"it did not end within {WAIT_S:g} s: {out.decode()[-2000:]}\n{err.decode()}"
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def interrupted(process: asyncio.subprocess.Process, text: bytes) -> tuple[int, str, str]:
    """Press Ctrl-C once it has printed `text`; how it ended, and what it printed from then on."""
    assert process.stdout is not None
    line = b""
    async with limited(f"a command to print {text!r}"):
        async for line in process.stdout:
            if text in line:
                break
    assert text in line, await end_of(process)
    process.send_signal(signal.SIGINT)
    return await end_of(process)


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


async def test_watch_asks_about_the_drawn_world_and_tells_the_truth_beside() -> None:
    async with serving() as served:
        status, out, err = await run(
            "watch", "demo://?seed=3", "--ask", "How many clips?", "--ask", "What colour?",
            "--every", "1", "--duration", "3", "--server", served.base, "--truth",
        )  # fmt: skip
    assert (status, err) == (0, "")
    assert re.search(r"Watching the drawn world \(seed 3\) as stream '.*' with fake", out)
    assert len(re.findall(r"I have seen \d+ clips", out)) >= 2
    assert re.search(r"really: (small|large) \w+ \w+", out)
    assert re.search(r"kept \d+  skipped \d+  dropped 0  behind \d", out)


async def test_watch_asks_once_at_the_end_of_a_file_and_speaks_json(tmp_path: Path) -> None:
    path = tmp_path / "blue.mp4"
    write_video(path, [np.full((48, 64, 3), (50, 80, 220), np.uint8)] * 10, fps=10)
    async with serving() as served:
        status, out, err = await run(
            "watch", str(path), "--ask", "What colour?", "--every", "0", "--json",
            "--server", served.base,
        )  # fmt: skip
    assert (status, err) == (0, "")
    watching, answer, ended = objects(out)
    assert watching["source"] == "blue.mp4"
    assert answer["answer"] == "The newest clip is mostly blue."
    assert ended == {**ended, "type": "ended", "answered": 1, "failed": 0}


async def test_watch_ends_in_order_on_ctrl_c() -> None:
    async with serving() as served:
        process = await start(
            "watch", "demo://", "--ask", "How many?", "--every", "0.3", "--json",
            "--server", served.base,
        )  # fmt: skip
        status, out, err = await interrupted(process, b'"answer"')
    assert (status, err) == (0, "")
    assert objects(out)[-1]["type"] == "ended"


async def test_watch_says_how_to_start_a_server() -> None:
    port = free_port(0)
    status, out, err = await run("watch", "demo://", "--server", f"http://127.0.0.1:{port}")
    assert (status, out) == (1, "")
    assert f"nothing answers at http://127.0.0.1:{port}" in err
    assert "onlooker serve" in err


async def test_watch_names_what_cannot_be_read() -> None:
    async with serving() as served:
        status, _, err = await run("watch", "missing.mp4", "--server", served.base)
        assert status == 2
        assert "there is no file or device 'missing.mp4'" in err
        status, _, err = await run("watch", "/dev/null", "--server", served.base)
        assert status == 2
        assert "cannot open /dev/null" in err
    assert "Traceback" not in err


async def test_the_demo_answers_and_ends_by_itself() -> None:
    status, out, err = await run(
        "demo", "--port", str(free_port(0)), "--every", "1", "--mode", "fake", DEMO_SECONDS="6"
    )
    assert (status, err) == (0, ""), out
    assert "server:   ... the scripted engine is ready" in out
    assert re.search(r"The page is at http://127\.0\.0\.1:\d+/", out)
    answered = re.search(r"(\d+) questions answered", out)
    assert answered is not None
    assert int(answered[1]) >= 2
    assert len(re.findall(r"wrong, it is: |  right  ", out)) == int(answered[1])


async def test_the_demo_says_why_its_server_died() -> None:
    status, out, _ = await run(
        "demo", "--port", str(free_port(0)), "--seconds", "5", ONLOOKER_SERVER__MAX_CONNECTIONS="no"
    )
    assert status == 1
    assert "the server ended with status 2" in out
    assert "Its last words:" in out
    assert "server.max_connections" in out


async def test_the_demo_says_how_to_try_tls() -> None:
    status, _, err = await run("demo", "--tls-self-signed")
    assert status == 2
    assert "onlooker serve --tls-self-signed" in " ".join(re.sub("[│╭╰╮╯─]", " ", err).split())


async def test_the_demo_stops_its_server_on_ctrl_c() -> None:
    port = free_port(0)
    process = await start("demo", "--port", str(port), "--mode", "fake")
    status, out, err = await interrupted(process, b"Streaming the drawn world")
    assert (status, err) == (0, ""), out
    assert free_port(port) == port, "the server must be gone"


async def test_watch_prints_alerts_as_they_come() -> None:
    async with serving() as served:
        status, out, err = await run(
            "watch", "demo://?seed=3", "--alert", "is it grey?", "--duration", "4", "--json",
            "--server", served.base, "--comment",
        )  # fmt: skip
    assert (status, err) == (0, "")
    told = objects(out)
    assert "is it grey?" in next(line["message"] for line in told if line["type"] == "watch")
    alerts = [line for line in told if line["type"] == "alert"]
    assert {"alert", "commentary"} >= {alert["kind"] for alert in alerts}
    assert [alert["number"] for alert in alerts] == list(range(1, len(alerts) + 1))
    assert told[-1]["alerts"] == len(alerts) > 0


async def test_cameras_are_asked_for_addresses_to_watch() -> None:
    with onvif_camera(login=("viewer", "secret")) as camera:
        asked = ("cameras", f"127.0.0.1:{camera.port}", "--user", "viewer")
        status, page, errors = await run(*asked, ONLOOKER_CAMERA_PASSWORD="secret")
        assert (status, errors) == (0, "")
        assert "onlooker watch 'rtsp://viewer:secret@127.0.0.1:554/live?" in page
        status, page, _ = await run(*asked, "--password", "wrong")
        assert status == 1
        assert "refuses this user name or password" in page
