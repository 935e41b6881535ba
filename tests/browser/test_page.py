"""The page in headless Chromium, with a camera, against the scripted engine."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onlooker.clients.python import Client
from onlooker.core.jpeg import encode_jpeg
from onlooker.demo_model.video import write_video
from onlooker.demo_model.world import World
from tests.browser.chromium import chromium, faults
from tests.browser.conftest import Served, plain, served, wait_for
from tests.browser.page import Page


@pytest.fixture(scope="module")
def page(red_then_blue: Path) -> Iterator[Page]:
    """One browser for the tests that leave it as they found it."""
    with chromium(camera=red_then_blue) as driver:
        yield Page(driver)


@pytest.fixture
def live(page: Page, fake_server: Served) -> Page:
    """The page, connected to a stream of its own."""
    page.driver.get("about:blank")
    page.open(fake_server.url)
    page.run("sessionStorage.clear(); localStorage.clear()")
    page.open(fake_server.url).until_live()
    return page


def test_the_page_keeps_its_own_policy_and_says_what_the_model_knows(live: Page) -> None:
    live.watch("world")
    assert live.ask("What do you see?").startswith("I have seen")
    assert faults(live.driver) == []
    assert "its answers are scripted" in live.text("knows")
    headers = live.run("return fetch('/').then((r) => r.headers.get('content-security-policy'))")
    assert "script-src 'self'" in headers
    assert "unsafe" not in headers


def test_an_answer_shows_the_pictures_that_it_rests_on(live: Page) -> None:
    live.watch("world")

    def is_shown() -> bool:
        live.ask("What do you see?")  # the first answers may come before the first clip
        return bool(
            live.run(
                "const seen = [...document.querySelectorAll('.seen img')];"
                "return seen.length > 0 && seen.every((one) => one.naturalWidth > 0)"
            )
        )

    wait_for(is_shown, 30, "the pictures of an answer")
    assert faults(live.driver) == []


def test_the_webcam_is_seen_as_it_changes(live: Page) -> None:
    live.watch("webcam")
    assert re.search(r"mostly (red|blue)", live.ask("What colour is it?"))
    wait_for(
        lambda: {"red", "blue"} <= set(re.findall(r"red|blue", live.ask("Which colours?"))),
        30,
        "both colours of the camera to be seen",
    )
    assert float(live.text("lag").split()[0]) < 5
    assert live.text("rate").endswith("fps")
    sent = live.run("return document.getElementById('video').videoWidth")
    assert sent > 0


def test_the_screen_is_seen(live: Page) -> None:
    live.watch("screen")
    assert live.text("source-label") == "The screen"
    assert live.ask("What colour is it?").startswith("The newest clip is mostly")


def test_an_answer_says_what_it_is_based_on(live: Page) -> None:
    live.watch("world")
    live.ask("How many clips?")
    turn = live.turns[-1]
    assert turn["status"] == "completed"
    assert re.search(r"had seen until [\d.]+ s", turn["based"])
    assert re.search(r"first word after \d+ ms", turn["based"])


def test_the_drawn_world_on_the_page_is_the_one_of_python(live: Page) -> None:
    live.watch("world")
    live.run("document.getElementById('truth-box').open = true")
    truth, now_s = live.run(
        """const kept = JSON.parse(sessionStorage['onlooker.stream']);
        return [document.getElementById('truth').textContent, (Date.now() - kept.epoch) / 1000]"""
    )
    shown = [
        {(o.color, o.shape) for o in World(7).state_at(max(0.0, now_s - age)).objects}
        for age in (0.0, 0.1, 0.3, 0.6, 1.0)
    ]
    named = set(re.findall(r"(red|green|blue|yellow|purple|orange) (\w+)", truth))
    assert named in shown, (truth, now_s)


def test_a_watch_left_in_words_alerts_with_its_frame_and_time(live: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    field = live.driver.find_element("id", "condition")
    field.send_keys("is it red or is it blue?", Keys.ENTER)
    wait_for(lambda: "is it red or is it blue?" in live.text("watches"), 15, "the watch")
    live.watch("webcam")
    alert = "document.querySelector('#alerts .alert')"
    wait_for(lambda: live.run(f"return Boolean({alert})"), 30, "an alert")
    assert re.search(r"[\d.]+ s · told [\d.]+ s later · 95 % sure", live.text("alerts"))
    assert live.run(f"return {alert}.querySelector('img').naturalWidth") > 0
    live.click("#watches button")  # pause
    wait_for(lambda: "paused" in live.text("watches"), 15, "the watch to be paused")
    live.click("#watches button:last-of-type")
    wait_for(lambda: not live.text("watches"), 15, "the watch to be deleted")
    if folder := os.environ.get("SCREENSHOTS_DIR"):
        live.driver.save_screenshot(str(Path(folder) / "watches.png"))
    assert faults(live.driver) == []


def test_a_file_is_played_and_seen(live: Page, tmp_path: Path) -> None:
    green = tmp_path / "green.webm"
    write_video(green, plain((40, 180, 60), 3), fps=5)
    live.driver.find_element("id", "file").send_keys(str(green))
    wait_for(lambda: int(live.text("kept")) > 0, 20, "a picture of the file")
    assert "mostly green" in live.ask("What colour is it?")
    assert live.text("source-label") == "green.webm"

    words = tmp_path / "words.mp4"
    words.write_text("not a video")
    live.driver.find_element("id", "file").send_keys(str(words))
    wait_for(lambda: "cannot play words.mp4" in live.notice, 10, "the page to say so")


def test_everything_works_from_the_keyboard(live: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    body = live.driver.find_element("tag name", "body")
    live.run("document.querySelector('.segments [data-source=world]').focus()")
    live.driver.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: int(live.text("kept")) > 0, 20, "a picture")
    body.send_keys("/")
    assert live.driver.switch_to.active_element.get_attribute("id") == "question"
    live.driver.switch_to.active_element.send_keys("what now?", Keys.ENTER)
    wait_for(lambda: live.turns and live.turns[-1]["status"] == "completed", 10, "the answer")
    live.run("document.getElementById('tab-python').focus()")
    live.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert live.driver.switch_to.active_element.text == "OpenAI SDK"
    live.click("#stop")
    assert live.run("return document.getElementById('view').dataset.source") == "none"


def test_it_fits_a_narrow_phone(live: Page) -> None:
    live.watch("world")
    live.ask("A question with averyveryverylongwordthatcouldnotbebrokenanywhereatall in it?")
    try:
        for width in (360, 414, 768, 1024):
            live.driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": True},
            )
            assert live.run("return document.documentElement.scrollWidth") <= width
            box = live.driver.find_element("id", "send").rect
            assert 0 < box["x"] <= width - box["width"] + 1
    finally:
        live.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_two_sources_on_one_stream_are_told_and_cured(live: Page, fake_server: Served) -> None:
    live.watch("world")
    stream = str(live.run("return JSON.parse(sessionStorage['onlooker.stream']).id"))

    async def intrude() -> str:
        async with (
            Client(fake_server.url) as client,
            client.stream(stream, resumed_at_s=1e4) as other,
        ):
            events = aiter(other.events())
            await other.send_frame(encode_jpeg(np.zeros((32, 32, 3), np.uint8)))
            async with asyncio.timeout(10):
                while True:
                    event = await anext(events)
                    if (error := getattr(event, "error", None)) is not None:
                        return str(error.code)

    assert asyncio.run(intrude()) == "conflict"
    assert live.ask("still yours?")


def test_a_stream_that_is_closed_ends_watching_with_a_way_on(
    live: Page, fake_server: Served
) -> None:
    live.watch("world")
    stream = str(live.run("return JSON.parse(sessionStorage['onlooker.stream']).id"))

    async def close() -> None:
        async with Client(fake_server.url) as client:
            await client.close_stream(stream)

    asyncio.run(close())
    wait_for(lambda: "The stream was closed" in live.notice, 10, "the page to say so")
    live.click("#notice button")
    live.until_live()
    assert live.run("return JSON.parse(sessionStorage['onlooker.stream']).id") != stream


def test_a_reload_keeps_the_stream_and_its_time(live: Page, fake_server: Served) -> None:
    live.watch("world")
    wait_for(lambda: int(live.text("kept")) > 3, 20, "some pictures")
    before = json.loads(live.run("return sessionStorage['onlooker.stream']"))
    live.open(fake_server.url).until_live()
    wait_for(lambda: int(live.text("kept")) > 3, 10, "the stream's counts")
    live.watch("world")
    after = json.loads(live.run("return sessionStorage['onlooker.stream']"))
    assert after["id"] == before["id"]
    totals = live.run(
        "return fetch(arguments[0]).then((r) => r.json()).then((s) => s.totals)",
        f"/v1/streams/{after['id']}",
    )
    assert "late" not in totals["dropped"], "time must not run backwards over a reload"
    assert totals["kept"] > 4


def test_the_snippets_work_as_they_are(live: Page, tmp_path: Path) -> None:
    live.watch("world")
    code = {}
    for tab in ("python", "openai", "curl", "javascript"):
        live.click(f"#tab-{tab}")
        code[tab] = live.text("snippet")
    picture = encode_jpeg(np.full((48, 64, 3), (220, 30, 30), np.uint8))
    (tmp_path / "picture.jpg").write_bytes(picture)

    def run(*command: str) -> str:
        environ = {**os.environ, "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environ
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "newest is mostly red" in run(sys.executable, "-c", code["python"])
    assert "I have seen" in run(sys.executable, "-c", code["openai"])
    assert "I have seen" in json.loads(run("bash", "-c", code["curl"]))["answer"]
    script = code["javascript"].replace("console.log(event.delta)", "said += event.delta")
    heard = live.driver.execute_async_script(
        f"const done = arguments[0]; let said = ''; {script} socket.onclose = () => done(said);"
    )
    assert heard.startswith("I have seen")


def test_a_key_is_asked_for_and_used(page: Page, tmp_path: Path) -> None:
    key = "a-long-enough-key"
    with served(tmp_path / "log", "--mode", "fake", ONLOOKER_SERVER__API_KEYS=key) as server:
        page.open(server.url)
        wait_for(lambda: page.state == "refused", 15, "the page to learn that it needs a key")
        assert page.run("return document.getElementById('settings').open")
        assert "wants an API key" in page.text("settings-state")
        page.driver.find_element("id", "key").send_keys("wrong-key-here")
        page.click("#settings button[value=connect]")
        wait_for(
            lambda: "does not know this API key" in page.text("settings-state"), 15, "a refusal"
        )
        page.click("#connection")
        field = page.driver.find_element("id", "key")
        field.clear()
        field.send_keys(key)
        page.click("#settings button[value=connect]")
        page.until_live()
        page.watch("world")
        assert page.ask("What do you see?").startswith("I have seen")
        assert "Authorization" in page.run(
            "document.getElementById('tab-curl').click();"
            "return document.getElementById('snippet').textContent"
        )


def test_a_restarted_server_is_found_again(page: Page, tmp_path: Path) -> None:
    with served(tmp_path / "one", "--mode", "fake") as first:
        page.open(first.url).until_live()
        page.watch("world")
        first.stop()
        wait_for(lambda: page.state == "waiting", 20, "the page to notice")
        with served(tmp_path / "two", "--mode", "fake", port=first.port):
            page.until_live(30)
            wait_for(lambda: int(page.text("kept")) > 0, 20, "pictures to flow again")
            assert page.ask("What do you see?").startswith("I have seen")
