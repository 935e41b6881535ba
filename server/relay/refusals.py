"""What a server says when it refuses a connection."""

import json

from websockets.exceptions import InvalidStatus


def code_of(refused: InvalidStatus) -> str:
    """The code of the error with which a server refused a connection; empty where it has none."""
    try:
        return str(json.loads(refused.response.body or b"")["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""
