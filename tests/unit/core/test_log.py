import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onlooker.core.log import (
    ENV_LOG_FORM,
    JsonFormatter,
    TextFormatter,
    configure_logging,
    configure_logging_as_parent,
    stream_id_var,
)
from tests.fakes.logs import logging_restored

Configure = Callable[..., io.StringIO]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Configures logging for the test; returns where lines go."""
    stream = io.StringIO()

    def configure(**options: Any) -> io.StringIO:
        monkeypatch.setattr("sys.stderr", stream)
        configure_logging(**{"level": "info", "style": "json", **options})
        return stream

    with logging_restored():
        yield configure


def make_record(**extra: object) -> logging.LogRecord:
    record = logging.makeLogRecord(
        {"name": "onlooker.x", "levelname": "INFO", "msg": "it happened"}
    )
    vars(record).update(extra)
    return record


def test_a_json_line_holds_message_values_and_ids() -> None:
    token = stream_id_var.set("door")
    try:
        line = json.loads(JsonFormatter().format(make_record(count=3)))
    finally:
        stream_id_var.reset(token)
    assert (line["message"], line["count"], line["stream_id"]) == ("it happened", 3, "door")
    assert line["level"] == "info"


def test_a_text_line_is_for_people() -> None:
    assert TextFormatter().format(make_record(count=3)).endswith("onlooker.x: it happened count=3")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_failure_shows_where_it_came_from(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        record = make_record(exc_info=(ValueError, error, error.__traceback__))
    assert "ValueError: broken" in formatter.format(record)


def test_configuring_twice_writes_once(configured: Configure) -> None:
    configured()
    lines = configured()
    logging.getLogger("onlooker.test").info("once")
    logging.getLogger("onlooker.test").debug("never")
    assert lines.getvalue().count("\n") == 1


@pytest.mark.parametrize("style", ["json", "text"])
def test_lines_of_libraries_and_warnings_take_our_form(configured: Configure, style: str) -> None:
    lines = configured(style=style)
    logging.getLogger("library").warning("it said\n  two lines")
    logging.getLogger("library").info("never")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
    first, second = lines.getvalue().splitlines()
    if style == "json":
        assert json.loads(first)["message"] == "it said | two lines"
        assert "this is old" in json.loads(second)["message"]
    else:
        assert first.endswith("warning library: it said | two lines")
        assert "warning py.warnings: " in second


def test_a_process_of_the_server_writes_as_the_server_does(configured: Configure) -> None:
    lines = configured(level="error", repeats=2)
    configure_logging_as_parent()
    for _ in range(5):
        logging.getLogger("onlooker.test").error("once more")
    logging.getLogger("onlooker.test").warning("never")
    assert [json.loads(line)["level"] for line in lines.getvalue().splitlines()] == ["error"] * 2


def test_a_process_that_no_server_started_is_left_alone(configured: Configure) -> None:
    assert ENV_LOG_FORM not in os.environ
    before = logging.getLogger().handlers[:]
    configure_logging_as_parent()
    assert logging.getLogger().handlers == before


@pytest.mark.parametrize(
    ("style", "expected"), [("json", '"more_in_last_minute": 3'), ("text", "(3 more in the last")]
)
def test_what_was_held_back_is_told_when_the_process_ends(
    configured: Configure, style: str, expected: str
) -> None:
    lines = configured(style=style, repeats=2)
    for index in range(5):
        logging.getLogger("onlooker.test").warning("it failed", extra={"number": index})
    logging.getLogger().handlers[-1].close()
    *_, last = lines.getvalue().splitlines()
    assert lines.getvalue().count("\n") == 3
    assert expected in last
