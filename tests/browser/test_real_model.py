"""The whole way with the real demo model: a camera, the page, the server, vLLM, an answer."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from onlooker.demo_model.questions import DrawnQuestion, ask, clip_at, correct
from onlooker.demo_model.render import render
from onlooker.demo_model.video import write_video
from onlooker.demo_model.world import World
from tests.browser.chromium import chromium, faults
from tests.browser.conftest import Served, served, wait_for
from tests.browser.page import Page

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

WORLD = World(2_000_003)
"""A world that the model was not trained on."""
FAMILIES = ("now_digit", "now_count", "now_color", "now_shape", "now_place")


def quiet_moment() -> float:
    """A time at which two objects rest beside a sign, and nothing happens around it."""
    for half_seconds in range(10, 1000):
        at_s = half_seconds / 2
        scene = WORLD.state_at(at_s)
        calm = all(WORLD.state_at(at_s + d).content() == scene.content() for d in (-1.0, 1.0))
        rests = len(scene.objects) == 2 and not any(o.moving for o in scene.objects)
        if calm and rests and scene.sign is not None:
            return at_s
    raise AssertionError("this world never rests")


def questions(at_s: float) -> list[DrawnQuestion]:
    """One question of each family about that moment."""
    clips = [clip_at(at_s)]
    found = [ask(WORLD, clips, at_s + 1, random.Random(1), family) for family in FAMILIES]
    return [question for question in found if question is not None]


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("real") / "server.log"
    with served(log, "--model", "demo") as server:
        yield server


def test_the_webcam_is_understood_and_the_answers_on_the_page_are_right(
    real_server: Served, tmp_path: Path
) -> None:
    at_s = quiet_moment()
    camera = tmp_path / "world.y4m"
    picture = render(WORLD.state_at(at_s), 640, 480)
    write_video(camera, [picture] * 10, fps=5)
    with chromium(camera=camera) as driver:
        page = Page(driver).open(real_server.url)
        page.until_live()
        assert "only the drawn world" in page.text("knows")
        page.watch("webcam")
        asked = questions(at_s)
        assert len(asked) == len(FAMILIES)
        answers = {question.text: page.ask(question.text, 60) for question in asked}
        wrong = {
            q.text: (answers[q.text], q.answer) for q in asked if not correct(q, answers[q.text])
        }
        assert len(wrong) <= 1, wrong
        digit = asked[0]
        assert digit.text not in wrong, "the sign is the easiest to read"
        assert faults(driver) == []


def test_the_drawn_world_of_the_page_is_understood(real_server: Served) -> None:
    with chromium() as driver:
        page = Page(driver).open(real_server.url)
        page.until_live()
        page.watch("world")
        world = World(7)

        def reads_the_sign() -> bool:
            answer = page.ask("What number is on the sign?", 60)
            seen_until = page.turns[-1]["based"].partition("until ")[2].split(" s")[0]
            if not seen_until:
                return False  # asked before the model had seen anything
            asked_s = float(seen_until)
            signs = {world.state_at(max(0.0, asked_s + d)).sign for d in (-1.5, -0.7, 0.0)}
            if len(signs) > 1:
                return False  # it has just changed: either answer could be meant
            sign = signs.pop()
            return ("no sign" in answer.lower()) if sign is None else str(sign) in answer

        wait_for(reads_the_sign, 60, "the sign to be read right")
