import io
import json
import logging
from collections.abc import Iterator

import pytest

from onlooker.core.log import JsonFormatter, TextFormatter, configure_logging, stream_id_var


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger("onlooker")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield logger
    logger.handlers[:], level, logger.propagate = before[0], before[1], before[2]
    logger.setLevel(level)


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


def test_configuring_twice_writes_once(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(level="info", style="json")
    configure_logging(level="info", style="json")
    logging.getLogger("onlooker.test").info("once")
    logging.getLogger("onlooker.test").debug("never")
    assert stream.getvalue().count("\n") == 1
