"""Tells Kubernetes what it would cost to delete this pod: as many as its server has open streams.

Where a Deployment is to have fewer pods, those that cost least go first. Runs beside the server,
for ever, and only says what has changed.
"""

import argparse
import json
import os
import re
import signal
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
CALL_S = 5.0
SERVER = "http://localhost:8000"


def open_streams(server: str, keys: str) -> int:
    """How many streams are open on the server. Its first key is shown, as it may want one."""
    key = keys.split(",")[0].strip().rpartition(":")[2]
    request = urllib.request.Request(  # noqa: S310 - the server in this pod
        f"{server}/metrics", headers={"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=CALL_S) as reply:  # noqa: S310
        figures = reply.read().decode()
    found = re.search(r"^onlooker_streams_active (\S+)$", figures, re.MULTILINE)
    if found is None:
        raise ValueError("the server does not tell how many streams it has")
    return int(float(found[1]))


def tell(api: str, pod: str, cost: int, account: Path) -> None:
    """Write the cost at the pod."""
    namespace = (account / "namespace").read_text().strip()
    request = urllib.request.Request(  # noqa: S310 - the API server of the cluster
        f"{api}/api/v1/namespaces/{namespace}/pods/{pod}",
        method="PATCH",
        data=json.dumps({"metadata": {"annotations": {ANNOTATION: str(cost)}}}).encode(),
        headers={
            "authorization": f"Bearer {(account / 'token').read_text().strip()}",
            "content-type": "application/merge-patch+json",
        },
    )
    trust = None
    if api.startswith("https:"):
        trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
    with urllib.request.urlopen(request, timeout=CALL_S, context=trust):  # noqa: S310
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every-s", type=float, default=15.0)
    parser.add_argument("--server", default=SERVER)
    parser.add_argument("--api", default="https://kubernetes.default.svc")
    parser.add_argument("--account", type=Path, default=ACCOUNT)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keys, pod = os.environ["ONLOOKER_SERVER__API_KEYS"], os.environ["POD_NAME"]
    told, trouble = None, ""
    while True:
        try:
            cost = open_streams(options.server, keys)
            if cost != told:
                tell(options.api, pod, cost, options.account)
                told = cost
            trouble = ""
        except (OSError, ValueError) as error:
            if (
                str(error) != trouble
            ):  # once for each kind: a server that starts is not asked in vain
                trouble = str(error)
                print(f"deletion cost: {trouble}", file=sys.stderr, flush=True)
        time.sleep(options.every_s)


if __name__ == "__main__":
    main()
