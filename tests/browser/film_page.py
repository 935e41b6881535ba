"""Films the page while it watches the drawn world and answers, for the README: `make film`.

A real run: the demo model in vLLM, the page in headless Chromium. It writes an animated picture and
a still one, and fails where the animated one would be too large to be shown.
"""

import io
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.chromium import chromium
from tests.browser.conftest import served, wait_for
from tests.browser.page import Page

WIDTH, HEIGHT, SHOWN_WIDTH = 1120, 820, 880
FRAME_S = 0.4
MAX_BYTES = 1_500_000
QUESTIONS = ("How many objects are there?", "What is on the left?")
CONDITION = "tell me when a red circle appears"
WATCH_S = 4.0
ANSWER_S = 60.0


def main(folder: Path, url: str | None = None) -> None:
    """Film a server at an address, or one that is started for it."""
    folder.mkdir(parents=True, exist_ok=True)
    if url is not None:
        film(url, folder)
        return
    with served(folder / "server.log", "--model", "demo") as server:
        film(server.url, folder)
    (folder / "server.log").unlink()


def film(url: str, folder: Path) -> None:
    """Watch, leave a watch, ask, and take a picture of the page now and then."""
    shots: list[Image.Image] = []
    with chromium(width=WIDTH, height=HEIGHT) as driver:
        page = Page(driver).open(url)
        page.until_live()
        page.watch("world")
        enter(driver, "condition", CONDITION)
        shoot(driver, shots, WATCH_S)
        for question in QUESTIONS:
            num_before = len(page.turns)
            enter(driver, "question", question)
            until_s = time.monotonic() + ANSWER_S
            while time.monotonic() < until_s and not is_answered(page, num_before):
                shoot(driver, shots, FRAME_S)
            wait_for(lambda: is_answered(page, num_before), 1, "an answer")  # noqa: B023
            shoot(driver, shots, WATCH_S)
    write(shots, folder)


def is_answered(page: Page, num_before: int) -> bool:
    turns = page.turns[num_before:]
    return bool(turns) and turns[0]["busy"] == "false"


def enter(driver: Any, field: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    driver.find_element("id", field).send_keys(text, Keys.ENTER)
    driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")


def shoot(driver: Any, shots: list[Image.Image], seconds: float) -> None:
    """Take pictures for so long, as many a second as are shown a second."""
    until_s = time.monotonic() + seconds
    while True:
        began_s = time.monotonic()
        picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        height = round(picture.height * SHOWN_WIDTH / picture.width)
        shots.append(picture.resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS))
        if time.monotonic() >= until_s:
            return
        time.sleep(max(0.0, FRAME_S - (time.monotonic() - began_s)))


def write(shots: list[Image.Image], folder: Path) -> None:
    """The animated picture, and the last of it as a still."""
    animated = folder / "page.webp"
    shots[0].save(
        animated, save_all=True, append_images=shots[1:], duration=round(FRAME_S * 1000),
        loop=0, quality=60, method=6, minimize_size=True,
    )  # fmt: skip
    shots[-1].save(folder / "page.png", optimize=True)
    size = animated.stat().st_size
    print(f"{animated}: {len(shots)} pictures, {size} bytes")
    if size > MAX_BYTES:
        sys.exit(f"{animated} has more than {MAX_BYTES} bytes: make it shorter or smaller")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
