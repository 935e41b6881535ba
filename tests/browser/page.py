"""What a person does on the page, as calls."""

import json
from dataclasses import dataclass
from typing import Any

from tests.browser.conftest import wait_for


@dataclass
class Page:
    """The page in a browser."""

    driver: Any

    def open(self, url: str) -> "Page":
        self.driver.get(url)
        return self

    def text(self, element_id: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", element_id))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def look(self, width: int, height: int, colours: str = "light") -> None:
        """As on a screen of this size, for someone who likes ``light`` or ``dark``."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": colours}]},
        )

    @property
    def state(self) -> str:
        return str(self.run("return document.getElementById('connection').dataset.state"))

    def until_live(self, timeout_s: float = 15) -> None:
        wait_for(lambda: self.state == "live", timeout_s, "the page to be connected")

    def watch(self, source: str) -> None:
        """Pick a source and wait until the server has kept a picture of it."""
        before = int(self.text("kept"))
        self.click(f".segments [data-source={source}]")
        wait_for(lambda: int(self.text("kept")) > before, 20, f"a kept picture of {source}")

    def ask(self, question: str, timeout_s: float = 20) -> str:
        """Type a question, press Enter, wait for the end of the answer."""
        from selenium.webdriver.common.keys import Keys

        count = len(self.turns)
        field = self.driver.find_element("id", "question")
        field.send_keys(question, Keys.ENTER)
        turn = wait_for(
            lambda: next((t for t in self.turns[count:] if t["busy"] == "false"), None),
            timeout_s,
            f"an answer to '{question}'",
        )
        assert turn["asked"] == question
        return str(turn["answer"])

    @property
    def turns(self) -> list[dict[str, str]]:
        """The transcript."""
        script = """return JSON.stringify([...document.querySelectorAll('.turn')].map((turn) => ({
            status: turn.dataset.status, busy: turn.getAttribute('aria-busy'),
            asked: turn.querySelector('.asked').textContent,
            answer: turn.querySelector('.answer').textContent,
            based: turn.querySelector('.based').textContent })))"""
        turns: list[dict[str, str]] = json.loads(self.run(script))
        return turns

    @property
    def notice(self) -> str:
        return str(
            self.run(
                "const n = document.getElementById('notice'); return n.hidden ? '' : n.textContent"
            )
        )
