"""Leave a watch with a stream that somebody feeds, and receive its alerts over HTTP, signed.

    ONLOOKER_WATCHES__WEBHOOKS__ALLOW_HOSTS=127.0.0.0/8 onlooker serve        # in one terminal
    python -m onlooker.clients.examples.alert_to_webhook demo "a red circle appears"

Receivers elsewhere need no setting: by default a server posts to public addresses. The signature
is the one of Standard Webhooks, for which there are libraries; this shows what they do.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx

SERVER = os.environ.get("ONLOOKER_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("ONLOOKER_API_KEY", "none")


def is_genuine(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether a post was signed with the secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(f"v1,{digest}", headers["webhook-signature"])


def main(stream: str = "demo", condition: str = "a red circle appears", alerts: str = "3") -> None:
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    seen: set[str] = set()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            if not is_genuine(secret, headers, body):
                self.send_error(401)
                return
            self.send_response(204)
            self.end_headers()
            alert = json.loads(body)["alert"]
            if alert["id"] not in seen:  # a post may come twice; its id stays the same
                seen.add(alert["id"])
                print(
                    f"{stream}: {alert['text']} (at {alert['evidence']['start_s']:g} s)", flush=True
                )

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        url = f"http://127.0.0.1:{receiver.server_port}/alerts"
        reply = httpx.post(
            f"{SERVER}/v1/streams/{stream}/watches",
            headers={"Authorization": f"Bearer {KEY}"},
            json={"condition": condition, "webhook": {"url": url, "secret": secret}},
        )
        if reply.is_error:
            sys.exit(reply.json()["error"]["message"])
        print(f"watching {stream}: {condition}", flush=True)
        while len(seen) < int(alerts):
            receiver.handle_request()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except httpx.ConnectError:
        sys.exit(f"nothing answers at {SERVER}")
    except KeyboardInterrupt:
        pass
