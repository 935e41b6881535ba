"""The page sends over WebRTC, from headless Chromium to the scripted engine."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.chromium import chromium, faults
from tests.browser.conftest import Served, served, wait_for
from tests.browser.page import Page


@pytest.fixture(scope="module")
def page(red_then_blue: Path) -> Iterator[Page]:
    with chromium(camera=red_then_blue) as driver:
        yield Page(driver)


@pytest.fixture
def live(page: Page, fake_server: Served) -> Page:
    """The page, connected to a stream of its own, and set to send over WebRTC."""
    page.open(fake_server.url)
    page.run("sessionStorage.clear(); localStorage.setItem('onlooker.way', 'webrtc')")
    page.open(fake_server.url).until_live()
    return page


def told_of(page: Page, server: Served) -> Any:
    name = page.text("stream-name").split()[-1]
    return httpx.get(f"{server.url}/v1/streams/{name}", trust_env=False).json()


def source_of(page: Page, server: Served) -> dict[str, object]:
    told = told_of(page, server)
    return {"kind": told["source"]["kind"], "dropped": told["totals"]["dropped"]}


def wait_for_another_picture(page: Page, way: str) -> None:
    before = int(page.text("kept"))
    wait_for(lambda: int(page.text("kept")) > before, 20, f"a picture by {way}")


@pytest.mark.parametrize("source", ["webcam", "world", "screen"])
def test_a_source_is_seen_over_webrtc(live: Page, fake_server: Served, source: str) -> None:
    live.watch(source)
    assert re.search("mostly", live.ask("What colour is it?"))
    wait_for(lambda: live.text("rate").endswith("fps"), 10, "the rate at which it sends")
    assert faults(live.driver) == []
    assert live.notice == ""
    wait_for(lambda: live.text("lag").endswith(" s"), 10, "how far behind the model is")
    assert float(live.text("lag").split()[0]) < 5
    assert source_of(live, fake_server) == {"kind": "push", "dropped": {}}
    live.click("#stop")
    wait_for(
        lambda: told_of(live, fake_server)["source"]["state"] == "ended", 10, "the source to end"
    )


def test_the_webcam_is_seen_as_it_changes_over_webrtc(live: Page) -> None:
    live.watch("webcam")
    wait_for(
        lambda: {"red", "blue"} <= set(re.findall(r"red|blue", live.ask("Which colours?"))),
        30,
        "both colours of the camera to be seen",
    )


@pytest.mark.parametrize("codec", ["VP8", "VP9", "H264"])
def test_every_codec_is_taken(live: Page, codec: str) -> None:
    live.run(
        """const add = RTCPeerConnection.prototype.addTransceiver, wanted = `video/${arguments[0]}`;
        RTCPeerConnection.prototype.addTransceiver = function (...given) {
            const made = add.apply(this, given);
            const known = RTCRtpSender.getCapabilities('video').codecs;
            made.setCodecPreferences(known.filter((one) => one.mimeType === wanted));
            return made;
        };""",
        codec,
    )
    live.watch("webcam")
    assert re.search("mostly (red|blue)", live.ask("What colour is it?"))
    assert live.notice == ""


def test_the_way_can_be_changed_while_it_sends(live: Page) -> None:
    live.watch("webcam")
    for way in ("pictures", "webrtc", "pictures"):
        live.run(
            "const way = document.getElementById('way'); way.value = arguments[0];"
            "way.dispatchEvent(new Event('change', { bubbles: true }))",
            way,
        )
        wait_for_another_picture(live, way)
        assert live.notice == ""


def test_where_webrtc_does_not_work_pictures_are_sent_and_the_page_says_so(live: Page) -> None:
    live.run("RTCPeerConnection = undefined")
    live.watch("webcam")
    assert "cannot send this source over WebRTC. It is sent as JPEG" in live.notice
    assert live.run("return document.getElementById('way').value") == "pictures"
    assert re.search("mostly (red|blue)", live.ask("What colour is it?"))


def test_it_is_sent_again_when_the_server_was_started_again(page: Page, tmp_path: Path) -> None:
    with served(tmp_path / "one", "--mode", "fake") as first:
        page.open(first.url)
        page.run("sessionStorage.clear(); localStorage.setItem('onlooker.way', 'webrtc')")
        page.open(first.url).until_live()
        page.watch("webcam")
        first.process.kill()
        wait_for(lambda: page.state == "waiting", 20, "the page to notice")
        with served(tmp_path / "two", "--mode", "fake", port=first.port) as second:
            page.until_live(30)
            wait_for(lambda: int(page.text("kept")) > 0, 60, "pictures to flow again")
            assert page.notice == ""
            assert source_of(page, second)["kind"] == "push"
