"""`onlooker cameras` against cameras that speak real SOAP over real sockets on loopback."""

import dataclasses
import io
import json
import socket
from typing import Any

import pytest
from rich.console import Console

from onlooker.clients.python.cameras.finder import CameraFinder, SearchPlan
from onlooker.clients.python.cameras.found import FoundCamera
from onlooker.clients.python.cameras.printed import CamerasCommand
from onlooker.clients.python.cameras.probing import CameraProbe
from onlooker.clients.python.cameras.soap import CameraLogin
from onlooker.core.clock import SystemClock
from onlooker.core.errors import InvalidRequest
from tests.fakes.onvif_camera import OnvifFake, onvif_camera
from tests.fakes.waiting import limited

MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
LOGIN = ("me", "p@ss:wörd/1")
OURS = CameraLogin(*LOGIN)
IN_ADDRESS = "me:p%40ss%3Aw%C3%B6rd%2F1@"

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "&%c;&%c;&%c;&%c;">' % (n + 1, n, n, n, n) for n in range(97, 115))
    + b'<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&s;&file;</s:Body>'
    b"</s:Envelope>"
)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def asked(camera: OnvifFake, **options: Any) -> FoundCamera:
    """What is found of a camera that is named."""
    plan = SearchPlan(addresses=(f"127.0.0.1:{camera.port}",), **options)
    async with limited("the camera to be asked"):
        (found,) = await CameraFinder(plan, SystemClock()).cameras()
    return found


def urls(found: FoundCamera) -> list[str]:
    return [stream.url for stream in found.streams]


async def searched(port: int, **options: Any) -> list[FoundCamera]:
    """What a search of the loopback finds."""
    plan = SearchPlan(**{"timeout_s": 4.0, **options})
    probe = CameraProbe(interface="127.0.0.1", clock=SystemClock(), port=port)
    async with limited("the search"):
        return await CameraFinder(plan, SystemClock(), probe=probe).cameras()


async def test_cameras_in_the_network_are_found_with_their_streams() -> None:
    port = free_port()
    with (
        onvif_camera(group_port=port, login=LOGIN) as one,
        onvif_camera(group_port=port, login=LOGIN, scopes="onvif://www.onvif.org/x") as two,
    ):
        found = await searched(port, login=OURS)
    assert {camera.service_url for camera in found} == {one.service_url, two.service_url}
    assert {camera.name for camera in found} == {"Front door", "ACME [31m IPC-1"}
    stream = found[0].streams[0]
    assert stream.url == f"rtsp://{IN_ADDRESS}127.0.0.1:554/live?profile=p&0&x=1"
    assert (stream.name, stream.coding, stream.width, stream.height) == ("main", "H264", 1920, 1080)
    assert [camera.problem for camera in found] == ["", ""]


async def test_other_devices_that_answer_are_passed_over() -> None:
    port = free_port()
    with onvif_camera(group_port=port, types="wsdp:Device", scopes="ldap:///printer") as printer:
        assert await searched(port, timeout_s=1.0) == []
    assert printer.asked == []


async def test_a_camera_that_names_another_host_for_itself_is_asked_where_it_answered() -> None:
    port = free_port()
    with onvif_camera(group_port=port, named_host="10.9.8.7") as camera:
        (found,) = await searched(port)
    assert len(found.streams) == 2
    assert found.service_url == camera.service_url
    assert f"it says that it is at 10.9.8.7:{camera.port}, and answered" in found.notes[0]


@pytest.mark.parametrize("proof", ["soap", "http"])
@pytest.mark.parametrize("ahead_s", [0.0, -86_400.0 * 400])
async def test_a_login_is_proven_as_the_camera_wants_it_and_by_its_clock(
    proof: str, ahead_s: float
) -> None:
    with onvif_camera(login=LOGIN, proof=proof, ahead_s=ahead_s) as camera:
        found = await asked(camera, login=OURS)
    assert found.problem == ""
    assert urls(found)[1] == f"rtsp://{IN_ADDRESS}127.0.0.1:554/live?profile=p&1&x=1"
    assert proof in camera.proofs


@pytest.mark.parametrize("proof", ["soap", "http"])
async def test_a_wrong_password_is_told_and_not_tried_again_and_again(proof: str) -> None:
    with onvif_camera(login=LOGIN, proof=proof) as camera:
        found = await asked(camera, login=CameraLogin("me", "wrong"))
    assert found.streams == ()
    assert "refuses this user name or password" in found.problem
    assert len(camera.asked) <= 4  # the time, and the first thing that wants a login


@pytest.mark.parametrize("proof", ["soap", "http"])
async def test_a_camera_that_wants_a_login_says_so(proof: str) -> None:
    with onvif_camera(login=LOGIN, proof=proof) as camera:
        found = await asked(camera)
    assert "wants a login: give --user and --password" in found.problem


async def test_a_password_is_never_told_in_the_clear() -> None:
    with onvif_camera(login=LOGIN, proof="basic") as camera:
        found = await asked(camera, login=OURS)
    assert "as HTTP Basic, which would tell the password" in found.problem


async def test_a_device_without_media_service_says_so() -> None:
    for knows_services in (True, False):
        with onvif_camera(media="", knows_services=knows_services) as camera:
            found = await asked(camera)
        assert "has no media service" in found.problem


async def test_a_camera_without_profiles_says_so() -> None:
    with onvif_camera(num_profiles=0) as camera:
        assert "set up a media profile" in (await asked(camera)).problem


@pytest.mark.parametrize("behaviour", [{"knows_services": False}, {"media": MEDIA2}])
async def test_older_and_newer_words_of_onvif_are_understood(behaviour: dict[str, Any]) -> None:
    with onvif_camera(**behaviour) as camera:
        found = await asked(camera)
    assert found.problem == ""
    assert urls(found)[0] == "rtsp://127.0.0.1:554/live?profile=p&0&x=1"
    assert found.streams[0].width == 1920


async def test_only_so_many_streams_of_a_camera_are_asked_for() -> None:
    with onvif_camera(num_profiles=100) as camera:
        assert len((await asked(camera)).streams) == 16


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
async def test_entities_are_never_read(encoding: str) -> None:
    with onvif_camera(reply=BOMB.decode().encode(encoding)) as camera:
        found = await asked(camera)
    assert found.streams == ()
    assert "declares a document type" in found.problem or "no XML" in found.problem


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"<html>camera</html>", "its reply is no SOAP"),
        (b"", "its reply is no XML"),
        (b"<a>" * 100_000, "its reply is no XML"),
        (bytes(2_000_000), "longer than 1048576 bytes"),
        (b"\xff\xfe\x00", "its reply is no XML"),
    ],
)
async def test_rubbish_is_told(reply: bytes, said: str) -> None:
    with onvif_camera(reply=reply) as camera:
        assert said in (await asked(camera)).problem


async def test_a_stream_on_another_host_is_told_and_gets_no_login() -> None:
    with onvif_camera(login=LOGIN, stream_host="10.9.8.7") as camera:
        found = await asked(camera, login=OURS)
    stream = found.streams[0]
    assert stream.url == "rtsp://10.9.8.7:554/live?profile=p&0&x=1"
    assert "on another host than the camera (127.0.0.1), so the login was left out" in stream.note


async def test_a_media_service_on_another_host_is_not_gone_to() -> None:
    with onvif_camera(login=LOGIN, media_host="10.9.8.7") as camera:
        found = await asked(camera, login=OURS)
    assert len(found.streams) == 2
    assert f"it names 10.9.8.7:{camera.port} for its media service" in found.notes[0]


async def test_all_ends_in_time_however_slow_a_camera_is() -> None:
    with onvif_camera(drips=True) as slow, onvif_camera() as camera:
        addresses = (f"127.0.0.1:{slow.port}", f"127.0.0.1:{camera.port}")
        plan = SearchPlan(addresses=addresses, timeout_s=2.0)
        async with limited("the search"):
            found = await CameraFinder(plan, SystemClock()).cameras()
    by_url = {camera.service_url: camera for camera in found}
    assert "did not answer within 2 s: try a longer --timeout" in by_url[slow.service_url].problem
    assert len(by_url[camera.service_url].streams) == 2


async def test_where_nothing_listens_it_is_said() -> None:
    found = await asked(OnvifFake(port=9))
    assert "it cannot be reached" in found.problem


@pytest.mark.parametrize("address", ["", "http://", "ftp://camera", "me:secret@camera", "a:b:c"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="is no address of a camera"):
        CameraFinder(SearchPlan(addresses=(address,)), SystemClock())


def test_a_network_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidRequest, match=r"has no network 'wlan9': name one of .*lo"):
        CameraFinder(SearchPlan(interface="wlan9"), SystemClock())


async def printed(plan: SearchPlan, *, as_json: bool = False, port: int | None = None) -> str:
    """What the command prints."""
    page = io.StringIO()
    probe = port and CameraProbe(interface="lo", clock=SystemClock(), port=port)
    finder = CameraFinder(plan, SystemClock(), probe=probe or None)
    console = Console(file=page, width=60)
    has_found = await CamerasCommand(finder, console, as_json=as_json).run()
    assert has_found == ("rtsp://" in page.getvalue())
    return page.getvalue()


async def test_what_is_printed_can_be_pasted() -> None:
    with onvif_camera() as camera:
        page = await printed(SearchPlan(addresses=(f"127.0.0.1:{camera.port}",)))
    heads, first, *_, last = page.splitlines()
    assert heads.split() == ["CAMERA", "ADDRESS", "PICTURES", "STREAM"]
    assert "H264 1920x1080  rtsp://127.0.0.1:554/live?profile=p&0&x=1" in first
    assert last == "Watch one:  onlooker watch 'rtsp://127.0.0.1:554/live?profile=p&0&x=1'"


async def test_a_program_gets_an_object_a_line() -> None:
    with onvif_camera() as camera:
        plan = SearchPlan(addresses=(f"127.0.0.1:{camera.port}",))
        (line,) = (await printed(plan, as_json=True)).splitlines()
    told = json.loads(line)
    assert set(told) == {field.name for field in dataclasses.fields(FoundCamera)}
    assert told["streams"][1]["url"] == "rtsp://127.0.0.1:554/live?profile=p&1&x=1"


async def test_where_nobody_answers_it_says_what_to_check() -> None:
    page = await printed(SearchPlan(timeout_s=0.5), port=free_port())
    assert page.startswith("No camera answered within 0.25 s. Check that")
    assert "--interface (here: lo" in page
    assert "onlooker cameras 192.168.1.20" in page
