"""The form of log lines: one JSON object each, or short text for a terminal.

The message of a line is constant, and its values come in ``extra``. Ids come from context
variables, so that a line written deep inside names its stream. Frame bytes, questions and answers
are never logged. Lines of libraries, and Python's warnings, take the same form; lines of one kind
are written so often a minute, and then counted (`core/repeats.py`).
"""

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from onlooker.core.repeats import RepeatFilter, num_more

stream_id_var: ContextVar[str | None] = ContextVar("stream_id", default=None)
response_id_var: ContextVar[str | None] = ContextVar("response_id", default=None)

ENV_LOG_FORM = "ONLOOKER_LOG_FORM"
"""Variable by which the processes that this one starts learn the form of its lines."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOT_VALUES = frozenset({"vllm_process_name", "fileinfo", "onlooker_more"})
"""What else is on records: vLLM adds to all where it is imported, and we say how many more there
were."""


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, variable in (("stream_id", stream_id_var), ("response_id", response_id_var)):
        if (value := variable.get()) is not None:
            fields[name] = value
    fields.update({k: v for k, v in vars(record).items() if k not in _STANDARD | _NOT_VALUES})
    return fields


def _message(record: logging.LogRecord) -> str:
    """The line's message on one line; libraries write longer ones."""
    return " | ".join(line.strip() for line in record.getMessage().splitlines() if line.strip())


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields(record),
        }
        if more := num_more(record):
            line["more_in_last_minute"] = more
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Writes ``12:00:01 info onlooker.server: message key=value``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        instant = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        values = "".join(f" {k}={v}" for k, v in _fields(record).items())
        more = f" ({num_more(record)} more in the last minute)" if num_more(record) else ""
        message = f"{_message(record)}{more}{values}"
        text = f"{instant} {record.levelname.lower()} {record.name}: {message}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _Lines(logging.StreamHandler[Any]):
    """Our handler; a type of its own, so that it is found again."""

    def __init__(self, *, max_repeats: int) -> None:
        super().__init__(sys.stderr)
        self._repeats = RepeatFilter(self, max_lines=max_repeats)
        self.addFilter(self._repeats)

    def close(self) -> None:
        """Called by Python when the process ends."""
        self._repeats.tell(at_end=True)
        super().close()


def configure_logging(*, level: str, style: str, repeats: int = 10) -> None:
    """Send all lines to standard error: our own from `level` on, those of others from warnings on.

    `style` is ``json`` or ``text``. `repeats`: lines of one kind that are written a minute.
    """
    os.environ[ENV_LOG_FORM] = f"{level},{style},{repeats}"
    lines = _Lines(max_repeats=repeats)
    lines.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not isinstance(one, _Lines)] + [lines]
    root.setLevel(logging.WARNING)
    logging.getLogger("onlooker").setLevel(level.upper())
    logging.captureWarnings(True)


def configure_logging_as_parent() -> None:
    """In a process that a server started: write lines as the server does. Where it has said
    nothing, nothing is changed."""
    form = os.environ.get(ENV_LOG_FORM)
    if form is not None:
        level, style, repeats = form.split(",")
        configure_logging(level=level, style=style, repeats=int(repeats))
