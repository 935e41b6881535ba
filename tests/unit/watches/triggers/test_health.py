import pytest
from msgspec import structs

from onlooker.core.media import ViewTrouble
from onlooker.watches.triggers.health import HealthTrigger, troubles_in
from onlooker.watches.triggers.interface import Signals, Speak
from tests.fakes.pictures import make_clip

BLOCKED, BLACK = ViewTrouble.BLOCKED, ViewTrouble.BLACK


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("the camera is blocked", {BLOCKED}),
        ("Tell me when the camera is covered.", {BLOCKED}),
        ("alert me if the picture goes black", {BLACK}),
        ("the view is blurry or out of focus", {ViewTrouble.BLURRED}),
        ("the camera was moved", {ViewTrouble.MOVED}),
        ("the image is frozen or black", {ViewTrouble.FROZEN, BLACK}),
        ("when my camera's view gets  blocked", {BLOCKED}),
    ],
)
def test_a_condition_about_the_view_names_its_troubles(
    condition: str, named: set[ViewTrouble]
) -> None:
    assert troubles_in(condition) == named


@pytest.mark.parametrize(
    "condition",
    [
        "a red circle appears",
        "the door is blocked",
        "somebody looks at the camera",
        "the camera shows a black car",
        "the black car has moved",
        "somebody has moved the camera bag",
        "",
    ],
)
def test_any_other_condition_is_the_models(condition: str) -> None:
    assert troubles_in(condition) == frozenset()


async def spoken(trigger: HealthTrigger, *troubles: ViewTrouble | None) -> list[bool]:
    found = []
    for trouble in troubles:
        clip = structs.replace(make_clip(), trouble=trouble)
        decision = await trigger.on_clip(clip, Signals(0.0), None)  # type: ignore[arg-type]
        found.append(isinstance(decision, Speak))
    return found


async def test_it_speaks_once_for_each_time_that_trouble_begins() -> None:
    trigger = HealthTrigger(frozenset({BLOCKED}))
    seen = (None, BLOCKED, BLOCKED, BLACK, None, BLOCKED)
    assert await spoken(trigger, *seen) == [False, True, False, False, False, True]


async def test_while_it_is_true_it_speaks_of_each_clip() -> None:
    trigger = HealthTrigger(frozenset({BLOCKED}), while_true=True)
    assert await spoken(trigger, BLOCKED, BLOCKED, None) == [True, True, False]


async def test_where_several_troubles_are_watched_the_alert_says_which_it_is() -> None:
    trigger = HealthTrigger(frozenset(ViewTrouble))
    clip = structs.replace(make_clip(), trouble=ViewTrouble.FROZEN)
    decision = await trigger.on_clip(clip, Signals(0.0), None)  # type: ignore[arg-type]
    assert decision == Speak(text="the camera's view is frozen")


async def test_what_an_earlier_server_has_told_of_is_not_told_again() -> None:
    trigger = HealthTrigger(frozenset({BLOCKED}))
    trigger.go_on(True)
    assert await spoken(trigger, BLOCKED, None, BLOCKED) == [False, False, True]
