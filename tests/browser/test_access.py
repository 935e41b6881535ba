"""The page for everybody: on a phone in one hand, by keyboard, read out, in light and in dark."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser import axe
from tests.browser.chromium import chromium, faults
from tests.browser.conftest import Served, wait_for
from tests.browser.page import Page

PHONE = (360, 740)
FINGER_PX = 44
READABLE_PX = 12

TOUCHED = """
const kinds = 'button, select, input:not([type=file]), a:not(.skip), summary';
return [...document.querySelectorAll(kinds)]
  .filter((each) => each.checkVisibility())
  .map((each) => {
    const { left, top, width, height } = each.getBoundingClientRect();
    return [each.id || each.textContent.trim(), left, top + scrollY, width, height,
            Boolean(each.closest('.asking'))];
  })"""
SMALLEST_TEXT = """
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), sizes = [];
while (walk.nextNode()) {
  const { data, parentElement: place } = walk.currentNode;
  if (!data.trim() || !place.checkVisibility()) continue;
  sizes.push(parseFloat(getComputedStyle(place).fontSize));
}
return Math.min(...sizes)"""


@pytest.fixture(scope="module")
def page(red_then_blue: Path) -> Iterator[Page]:
    with chromium(camera=red_then_blue, width=PHONE[0], height=PHONE[1]) as driver:
        yield Page(driver)


@pytest.fixture
def opened(page: Page, fake_server: Served) -> Page:
    """The page on a phone, connected to a stream of its own, without a source."""
    page.look(*PHONE)
    page.open(fake_server.url)
    page.run("sessionStorage.clear(); localStorage.clear()")
    page.open(fake_server.url).until_live()
    return page


@pytest.fixture
def busy(opened: Page) -> Page:
    """The page with a camera, a question, a watch and an alert."""
    from selenium.webdriver.common.keys import Keys

    opened.driver.find_element("id", "condition").send_keys("is it red or blue?", Keys.ENTER)
    wait_for(lambda: "is it red or blue?" in opened.text("watches"), 15, "the watch")
    opened.watch("webcam")
    opened.ask("What do you see?")
    wait_for(lambda: opened.text("alerts"), 30, "an alert")
    return opened


@pytest.mark.skipif(axe.missing() is not None, reason=str(axe.missing()))
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing(busy: Page, colours: str) -> None:
    found = {}
    for name, (width, height) in {"phone": PHONE, "desk": (1280, 900)}.items():
        busy.look(width, height, colours)
        found[name] = axe.shut_out(busy.driver)
    busy.click("#connection")
    found["dialog"] = axe.shut_out(busy.driver)
    busy.click("#settings button[value=cancel]")
    busy.click("#stop")
    found["empty"] = axe.shut_out(busy.driver)
    assert not any(found.values()), found


def test_nothing_to_touch_is_smaller_than_a_finger(busy: Page) -> None:
    touched = busy.run(TOUCHED)
    assert len(touched) > 15
    small = [
        (what, width, height)
        for what, _, _, width, height, _ in touched
        if min(width, height) < FINGER_PX
    ]
    assert small == []
    assert busy.run(SMALLEST_TEXT) >= READABLE_PX
    assert busy.run("return document.documentElement.scrollWidth") <= PHONE[0]


def test_the_question_and_the_picture_stay_in_sight_of_the_thumb(busy: Page) -> None:
    for part in (0.0, 0.5, 1.0):
        busy.run("scrollTo(0, arguments[0] * document.documentElement.scrollHeight)", part)
        for control in ("question", "send"):
            box = busy.run(
                f"return document.getElementById('{control}').getBoundingClientRect().toJSON()"
            )
            assert PHONE[1] / 2 < box["top"] < box["bottom"] <= PHONE[1]
    busy.ask("And now?")
    answer = busy.run(
        "return document.querySelector('.turn:last-child .answer').getBoundingClientRect().toJSON()"
    )
    view = busy.run("return document.getElementById('view').getBoundingClientRect().toJSON()")
    asking = busy.run("return document.querySelector('.asking').getBoundingClientRect().toJSON()")
    assert 0 <= view["top"] < view["bottom"] <= answer["top"]
    assert answer["bottom"] <= asking["top"]


def test_the_order_of_focus_is_the_order_seen(busy: Page) -> None:
    places = [
        (top, what)
        for what, _, top, _, height, is_fixed in busy.run(TOUCHED)
        if not is_fixed and height
    ]
    backwards = [(a, b) for (a, _), (b, _) in pairwise(places) if b < a - FINGER_PX]
    assert backwards == [], places


def test_the_first_visit_says_the_three_things_to_do(opened: Page) -> None:
    assert opened.run("return document.querySelectorAll('#empty .steps li').length") == 3
    start = opened.driver.find_element("css selector", ".starts .primary")
    assert start.text == "Watch the drawn world"
    assert start.rect["y"] + start.rect["height"] < PHONE[1] - 120, "it can be tapped at once"
    start.click()
    wait_for(lambda: int(opened.text("kept")) > 0, 20, "a picture")
    assert faults(opened.driver) == []


def test_an_alert_is_shown_over_the_picture(opened: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.run(
        """const flash = document.getElementById('flash');
        new MutationObserver(() => {
            if (flash.hidden) return;
            const places = [flash, document.getElementById('view')];
            const [inner, outer] = places.map((each) => each.getBoundingClientRect());
            window.flashed = [flash.textContent, inner.bottom <= outer.bottom + 1];
        }).observe(flash, { attributes: true })"""
    )
    opened.driver.find_element("id", "condition").send_keys("is it red or blue?", Keys.ENTER)
    wait_for(lambda: "is it red or blue?" in opened.text("watches"), 15, "the watch")
    opened.watch("webcam")
    text, is_within = wait_for(lambda: opened.run("return window.flashed"), 30, "the alert")
    assert text.startswith("is it red or blue? · ")
    assert is_within
