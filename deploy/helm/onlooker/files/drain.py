"""Empties the server in this pod, and waits until it is: the `preStop` hook of a server.

While it runs, the server still passes calls on to others, so that nobody notices until all that is
in front of it has heard that it goes.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from typing import Any

POLL_S = 0.5
CALL_S = 5.0
SERVER = "http://localhost:8000"


def admin_key(keys: str) -> str:
    """The first of ``TENANT+SCOPE:KEY, ...`` that may drain a server.

    Raises:
        ValueError: none may.
    """
    for entry in keys.split(","):
        owner, _, key = entry.strip().rpartition(":")
        scopes = owner.split("+")[1:]
        if key and (not scopes or "admin" in scopes):
            return key
    raise ValueError(
        "none of the API keys has the scope admin: the server ends without handing over first"
    )


def drain(server: str, key: str) -> int:
    """Ask the server to drain, or how far it is; return how much is left on it."""
    request = urllib.request.Request(  # noqa: S310 - the server in this pod
        f"{server}/v1/servers/self/drain",
        method="POST",
        headers={"authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=CALL_S) as reply:  # noqa: S310
        told: dict[str, Any] = json.load(reply)
    return int(told["streams"]) + int(told["connections"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit-s", type=float, required=True, help="how long to wait at most")
    parser.add_argument("--server", default=SERVER)
    options = parser.parse_args()
    until_s = time.monotonic() + options.limit_s
    try:
        key = admin_key(os.environ["ONLOOKER_SERVER__API_KEYS"])
        while (left := drain(options.server, key)) and time.monotonic() < until_s:
            time.sleep(POLL_S)
    except (OSError, ValueError, KeyError) as error:
        print(f"drain: {error}", file=sys.stderr)
        return 1
    print(f"drain: {left} streams and connections are left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
