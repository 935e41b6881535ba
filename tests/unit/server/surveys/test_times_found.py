"""When or how often several cameras saw something."""

from collections.abc import Sequence

import pytest

from onlooker.core.protocol.surveys import SurveyMoment, SurveyPart, SurveyReply
from onlooker.engine.wording import DEFAULT_WORDING
from onlooker.server.surveys.framing import framed
from onlooker.server.surveys.verdict import verdict


def part(stream: str, *walls_s: float | None, exact: bool = True) -> SurveyPart:
    moments = [
        SurveyMoment(
            stream=stream, start_s=1.0, end_s=2.0, source="diary", tier="device", wall_time=wall_s
        )
        for wall_s in walls_s
    ]
    return SurveyPart(
        stream=stream,
        name=stream.title(),
        status="completed",
        asked="?",
        answer=f"{len(walls_s)} times.",
        moments=moments,
        num_moments=len(walls_s),
        moments_exact=exact,
    )


def without_diary(stream: str) -> SurveyPart:
    """What a camera says whose model answers, since its diary cannot."""
    return part(stream).model_copy(update={"num_moments": None, "moments_exact": None})


def unheard(stream: str) -> SurveyPart:
    return without_diary(stream).model_copy(update={"status": "timed_out", "answer": ""})


def told(question: str, *parts: SurveyPart, unreached: Sequence[str] = ()) -> SurveyReply:
    return verdict("s", question, framed(question, DEFAULT_WORDING), parts, unreached=unreached)


def test_how_often_it_was_in_all_stands_above_what_each_camera_says() -> None:
    found = told(
        "How often did a dog bark?", part("door"), part("hall", 5.0), part("yard", 3.0, 9.0)
    )
    assert found.answer.splitlines()[0] == "3 in all: Yard 2, Hall 1."
    assert found.answer.splitlines()[1:] == ["Door: 0 times.", "Hall: 1 times.", "Yard: 2 times."]
    assert [one.stream for one in found.cameras] == ["yard", "hall"]


def test_a_count_of_which_a_part_is_not_exact_is_the_least() -> None:
    found = told("How often did a dog bark?", part("hall", 5.0), part("yard", 9.0, exact=False))
    assert found.answer.startswith("At least 2 in all: ")


@pytest.mark.parametrize("lacking", [without_diary("door"), unheard("door")])
def test_a_count_without_the_times_of_a_camera_is_the_least_and_names_it(
    lacking: SurveyPart,
) -> None:
    found = told("How often did a dog bark?", part("hall", 5.0), lacking, part("yard", 3.0, 9.0))
    assert found.answer.splitlines()[0] == "At least 3 in all: Yard 2, Hall 1; not known: Door."


def test_a_count_without_the_cameras_of_a_server_is_the_least() -> None:
    parts = part("hall", 5.0), part("yard", 9.0)
    found = told("How often did a dog bark?", *parts, unreached=["east"])
    assert found.answer.startswith("At least 2 in all: ")


def test_a_count_of_one_camera_that_was_heard_is_the_least_of_all() -> None:
    found = told("How often did a dog bark?", unheard("door"), part("yard", 3.0, 9.0))
    assert found.answer.startswith("At least 2 in all: Yard 2; not known: Door.\nYard: 2 times.")


@pytest.mark.parametrize(
    "lacking", [without_diary("door"), unheard("door"), part("door", exact=False)]
)
def test_the_last_of_all_is_told_as_far_as_is_known_without_a_camera(lacking: SurveyPart) -> None:
    found = told("When did you last see a dog?", part("hall", 5.0), part("yard", 9.0), lacking)
    assert found.answer.startswith("Last, as far as is known: Yard.\n")


def test_a_long_list_of_cameras_whose_times_are_not_known_is_cut_off() -> None:
    lacking = [without_diary(f"c{number}") for number in range(30)]
    found = told("How often did a dog bark?", part("hall", 5.0), *lacking)
    assert "C19 and 10 more." in found.answer.splitlines()[0]


@pytest.mark.parametrize(("which", "first"), [("last", "Yard"), ("first", "Hall")])
def test_the_camera_that_saw_it_first_or_last_is_named_first(which: str, first: str) -> None:
    found = told(f"When did you {which} see a dog?", part("hall", 5.0), part("yard", 9.0))
    assert found.answer.startswith(f"{which.title()}: {first}.\n")
    assert found.cameras[0].name == first


def test_where_wall_times_are_not_known_no_camera_is_called_the_last() -> None:
    found = told("When did you last see a dog?", part("hall", 5.0), part("yard", None))
    assert found.answer == "Hall: 1 times.\nYard: 1 times."
    assert {one.name for one in found.cameras} == {"Hall", "Yard"}


def test_cameras_that_found_nothing_have_no_line_in_common() -> None:
    assert told("When did you last see a dog?", part("hall"), part("yard")).cameras == []
