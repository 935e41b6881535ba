"""The board of all cameras and the player of their past, in headless Chromium."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from onlooker.core.jpeg import encode_jpeg
from tests.browser import axe
from tests.browser.chromium import chromium, faults
from tests.browser.conftest import Served, plain, wait_for
from tests.browser.page import Page

CAMERAS = {"yard": ("Yard", (220, 30, 30)), "hall": ("Hall", (40, 60, 220))}
SECONDS = 8
PHONE = (360, 740)


@pytest.fixture(scope="module")
def cameras(fake_server: Served) -> Iterator[Served]:
    """Two cameras with names, labels and a few seconds of past, one of which has alerted."""
    with httpx.Client(base_url=fake_server.url, timeout=30, trust_env=False) as http:
        for name, (shown, color) in CAMERAS.items():
            body = {
                "id": name,
                "name": shown,
                "labels": [name, "home"],
                "clock": "virtual",
                "starts_at": 1796061600.0,
            }
            http.post("/v1/streams", json=body).raise_for_status()
            if name == "yard":
                watch = {
                    "condition": "something is there",
                    "trigger": ["interval"],
                    "interval_s": 2,
                }
                http.post("/v1/streams/yard/watches", json=watch).raise_for_status()
            for at_s in range(SECONDS):
                picture = encode_jpeg(plain(color if at_s % 2 else (20, 20, 20), 1)[0])
                headers = {"content-type": "image/jpeg", "x-capture-time-s": str(at_s)}
                http.post(f"/v1/streams/{name}/frames", content=picture, headers=headers)
            http.post(f"/v1/streams/{name}/questions", json={"question": "What?"})
        yield fake_server
        for name in CAMERAS:
            http.delete(f"/v1/streams/{name}")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as driver:
        yield Page(driver)


@pytest.fixture
def board(page: Page, cameras: Served) -> Page:
    """The board with both cameras and their pictures on it."""
    page.look(1280, 900)
    page.open("about:blank")
    page.open(f"{cameras.url}/board.html")
    wait_for(lambda: len(tiles(page)) >= 2 and all(one["drawn"] for one in ours(page)), 20, "tiles")
    return page


def tiles(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.run(
        """return [...document.querySelectorAll('.tile')].map((tile) => ({
            name: tile.querySelector('strong').textContent,
            drawn: tile.querySelector('img').naturalWidth > 0 }))"""
    )
    return found


def ours(page: Page) -> list[dict[str, Any]]:
    return [one for one in tiles(page) if one["name"] in ("Yard", "Hall")]


def open_player(page: Page) -> None:
    page.run(
        """[...document.querySelectorAll('.tile')].find((tile) => tile.textContent.includes('Yard'))
            .querySelector('button').click()"""
    )
    wait_for(lambda: page.text("player-title") == "Yard", 10, "the player")
    wait_for(lambda: drawn(page), 10, "the picture of a moment")


def drawn(page: Page) -> bool:
    return bool(page.run("return document.getElementById('past-picture').naturalWidth > 0"))


def test_cameras_are_shown_with_names_pictures_and_alerts_of_all(board: Page) -> None:
    assert [one["name"] for one in ours(board)] == ["Yard", "Hall"]
    wait_for(lambda: "Yard" in board.text("all-alerts"), 10, "an alert of the yard")
    assert faults(board.driver) == []


def test_labels_narrow_what_is_shown_and_asked(board: Page) -> None:
    board.run(
        """[...document.querySelectorAll('#labels button')]
            .find((pick) => pick.textContent === 'hall').click()"""
    )
    assert [one["name"] for one in tiles(board)] == ["Hall"]
    ask_all(board, "What colours have you seen?")
    answer = board.run("return document.querySelector('#all-answers .answer').textContent")
    assert answer.startswith("Hall: ")


def ask_all(page: Page, question: str) -> None:
    from selenium.webdriver.common.keys import Keys

    page.driver.find_element("id", "all-question").send_keys(question, Keys.ENTER)
    wait_for(
        lambda: (
            page.run("return document.querySelector('#all-answers li')?.getAttribute('aria-busy')")
            == "false"
        ),
        20,
        "an answer of all",
    )


def test_a_standing_order_is_left_and_taken_back(board: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    board.driver.find_element("id", "condition").send_keys("it snows", Keys.ENTER)
    wait_for(lambda: "it snows" in board.text("orders"), 10, "the order")
    board.click("#orders button")
    wait_for(lambda: "it snows" not in board.text("orders"), 10, "the order to go")


def test_the_past_is_scrubbed_by_keyboard_marked_and_asked_about(board: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    open_player(board)
    newest = board.text("moment")
    ruler = board.driver.find_element("id", "ruler")
    ruler.send_keys(Keys.HOME)
    first = wait_for(lambda: board.text("moment") != newest and board.text("moment"), 5, "a seek")
    board.click("#mark-from")
    ruler.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert board.text("moment") != first
    board.click("#mark-to")
    assert board.text("marked").startswith(first)
    board.driver.find_element("id", "past-question").send_keys("How many clips?", Keys.ENTER)
    answer = wait_for(
        lambda: board.run(
            "const turn = document.querySelector('#past-answers li');"
            "return turn?.getAttribute('aria-busy') === 'false'"
            " && turn.querySelector('.answer').textContent"
        ),
        20,
        "an answer about the past",
    )
    assert answer.startswith("I have seen")
    assert "7.00 s" not in answer, "nothing later than what is marked counts"
    assert not board.run(
        "const [time, asked] = ['time', '.asked'].map((name) =>"
        " document.querySelector(`#past-answers ${name}`).getBoundingClientRect());"
        "return time.right > asked.left && time.bottom > asked.top"
    ), "when it was asked does not stand upon what was asked"
    ruler.send_keys(Keys.END)
    latest = board.text("moment")
    board.click("#past-answers .seen")
    assert board.text("moment") != latest, "what the answer rests on leads there"
    ruler.send_keys(Keys.ESCAPE)
    wait_for(lambda: board.run("return document.getElementById('player').hidden"), 5, "its end")
    # The browser tells of a diary that is not kept, too; nothing is wrong then.
    assert [fault for fault in faults(board.driver) if "/timeline?" not in fault] == []


def test_an_alert_opens_the_moment_that_it_rests_on(board: Page) -> None:
    wait_for(lambda: board.text("all-alerts"), 10, "an alert")
    board.click("#all-alerts button")
    wait_for(lambda: board.text("player-title") == "Yard", 10, "the player")
    wait_for(lambda: drawn(board), 10, "the picture")


@pytest.mark.skipif(axe.missing() is not None, reason=str(axe.missing()))
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_board_shuts_nobody_out_and_fits_a_phone(board: Page, colours: str) -> None:
    open_player(board)
    board.look(*PHONE, colours)
    assert board.run("return document.documentElement.scrollWidth") <= PHONE[0]
    assert axe.shut_out(board.driver) == []
