"""The form of log lines: one JSON object each, or short text for a terminal.

The message of a line is constant, and its values come in ``extra``. Ids come from context
variables, so that a line written deep inside names its stream. Frame bytes, questions and answers
are never logged.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

stream_id_var: ContextVar[str | None] = ContextVar("stream_id", default=None)
response_id_var: ContextVar[str | None] = ContextVar("response_id", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, variable in (("stream_id", stream_id_var), ("response_id", response_id_var)):
        if (value := variable.get()) is not None:
            fields[name] = value
    fields.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
    return fields


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Writes ``12:00:01 info onlooker.server: message key=value``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        instant = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        values = "".join(f" {k}={v}" for k, v in _fields(record).items())
        text = f"{instant} {record.levelname.lower()} {record.name}: {record.getMessage()}{values}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure_logging(*, level: str, style: str) -> None:
    """Send everything under ``onlooker`` to standard error. `style` is ``json`` or ``text``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger("onlooker")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
