"""The page when its server is gone, hangs or is slow; and whether its numbers agree."""

import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from onlooker.demo_model.video import write_video
from tests.browser import axe
from tests.browser.chromium import chromium
from tests.browser.conftest import CAMERA_FPS, Served, plain, served, wait_for
from tests.browser.page import Page

COLOUR_OF_KEPT = "return getComputedStyle(document.getElementById('kept')).color"
WHEN_WRITTEN = """
const done = arguments[0], found = [];
const number = (id) => parseFloat(document.getElementById(id).textContent);
const look = new MutationObserver(() => {
  const { epoch } = JSON.parse(sessionStorage['onlooker.stream']);
  found.push([number('lag'), number('seen'), (Date.now() - epoch) / 1000]);
  if (found.length < 10) return;
  look.disconnect();
  done(found);
});
const all = { childList: true, characterData: true, subtree: true };
look.observe(document.getElementById('lag'), all);
"""
"""How far behind, until when, and the stream's time, ten times at the moment when it is shown."""
NOTHING = "\N{EN DASH}"
SOFT = "return getComputedStyle(document.querySelector('.gauge dt')).color"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser whose camera sees nothing but red."""
    camera = tmp_path_factory.mktemp("still") / "red.y4m"
    write_video(camera, plain((220, 30, 30), 2), fps=CAMERA_FPS)
    with chromium(camera=camera) as driver:
        yield Page(driver)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    """A server that a test may kill."""
    with served(tmp_path / "log", "--mode", "fake") as server:
        yield server


def watching(page: Page, server: Served) -> Page:
    page.open(server.url)
    page.run("sessionStorage.clear(); localStorage.clear()")
    page.open(server.url).until_live()
    page.watch("webcam")
    wait_for(lambda: page.text("lag").endswith(" s"), 20, "how far behind the model is")
    return page


def test_a_killed_server_is_told_and_its_numbers_turn_grey(
    page: Page, own_server: Served, tmp_path: Path
) -> None:
    from selenium.common.exceptions import (
        ElementClickInterceptedException,
        ElementNotInteractableException,
    )
    from selenium.webdriver.common.keys import Keys

    watching(page, own_server)
    assert page.run(COLOUR_OF_KEPT) != page.run(SOFT)
    own_server.process.kill()
    wait_for(lambda: page.state == "waiting", 20, "the page to notice")
    assert page.run("return document.getElementById('said').getAttribute('role')") == "status"
    assert re.fullmatch(
        r"No answer from the server. All numbers are from \d+:\d\d:\d\d.*tries again by itself.",
        said := page.text("said"),
    ), said
    assert "No answer from the server" in page.driver.find_element("id", "gone").text
    assert page.run(COLOUR_OF_KEPT) == page.run(SOFT)
    assert (page.text("lag"), page.text("rate")) == (NOTHING, NOTHING)

    page.driver.find_element("id", "question").send_keys("Are you there?", Keys.ENTER)
    assert "not connected" in page.notice
    assert page.run("return document.getElementById('question').value") == "Are you there?"
    if axe.missing() is None:
        assert axe.shut_out(page.driver) == []

    with served(tmp_path / "again", "--mode", "fake", port=own_server.port):
        # It may have tried again by itself: then the button is gone, or goes under the pointer.
        with suppress(ElementNotInteractableException, ElementClickInterceptedException):
            page.click("#gone-action")
        page.until_live(30)
        assert page.text("said") == "Connected again."
        assert page.notice == ""
        wait_for(lambda: page.text("rate").endswith("fps"), 20, "pictures to be sent again")
        assert page.run("return document.getElementById('gone').hidden")
        assert page.run(COLOUR_OF_KEPT) != page.run(SOFT)
        page.run("document.getElementById('question').value = ''")
        assert page.ask("What do you see?").startswith("I have seen")


def test_a_server_that_hangs_is_told_before_the_line_is_given_up(
    page: Page, own_server: Served
) -> None:
    from selenium.webdriver.common.keys import Keys

    watching(page, own_server)
    own_server.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: page.state == "quiet", 30, "the page to notice")
        assert page.text("said").startswith("The server does not answer. All numbers are from ")
        assert page.run(COLOUR_OF_KEPT) == page.run(SOFT)
        page.driver.find_element("id", "question").send_keys("Hello?", Keys.ENTER)
        wait_for(lambda: "no word yet, after" in page.turns[-1]["based"], 10, "the wait to be told")
    finally:
        own_server.process.send_signal(signal.SIGCONT)
    wait_for(lambda: page.state == "live", 30, "the page to be live again")
    assert page.text("said") == "Connected again."
    wait_for(lambda: page.turns[-1]["status"] == "completed", 30, "the answer")
    assert page.run("return document.getElementById('gone').hidden")


def test_behind_and_seen_until_and_the_answers_say_the_same(
    page: Page, fake_server: Served
) -> None:
    """Of a picture that stays the same nearly everything is skipped, and yet it was seen."""
    watching(page, fake_server)
    wait_for(lambda: int(page.text("skipped")) >= 8, 40, "pictures to be skipped")
    page.ask("And now?")
    based = re.search(r"had seen until ([\d.]+) s(?:, ([\d.]+) s before)?", page.turns[-1]["based"])
    assert based is not None
    asked_s, answered_until_s = (
        float(text)
        for text in (
            page.run(
                "return document.querySelector('.turn:last-child time').textContent.split(' ')[0]"
            ),
            based[1],
        )
    )
    assert asked_s - answered_until_s == pytest.approx(float(based[2] or 0), abs=0.11)
    wait_for(
        lambda: float(page.text("seen").split()[0]) >= answered_until_s, 10, "the page to know it"
    )
    sums = page.driver.execute_async_script(WHEN_WRITTEN)
    assert max(abs(behind + until - now) for behind, until, now in sums) <= 0.2, sums


def test_what_is_sent_is_what_is_asked_for(page: Page, fake_server: Served) -> None:
    watching(page, fake_server)
    wait_for(lambda: "the server asks for" in page.text("pace"), 20, "the server's wish")
    told = re.fullmatch(
        r"You allow 4 fps; the server asks for ([\d.]+) fps: .*\.", page.text("pace")
    )
    assert told is not None
    asked_fps = float(told[1])
    wait_for(
        lambda: (
            page.text("rate") != NOTHING
            and abs(float(page.text("rate").split()[0]) - asked_fps) <= 0.5
        ),
        30,
        f"{asked_fps} fps to be sent",
    )
    page.click("#stop")
    assert (page.text("pace"), page.text("rate")) == ("", NOTHING)
    wait_for(lambda: page.text("lag") == NOTHING, 10, "the page to know that nothing comes")
