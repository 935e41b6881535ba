"""The server's side of HTTP Digest, as cameras and web servers ask for it."""

import hashlib
import re

REALM, NONCE = "door", "dcd98b7102dd2f0e8b11d0f600bfb0c093"

CHALLENGE = f'Digest realm="{REALM}", nonce="{NONCE}", algorithm=MD5, qop="auth"'
"""What a web server asks."""

OLD_CHALLENGE = f'Digest realm="{REALM}", nonce="{NONCE}"'
"""What a camera asks over RTSP."""


def is_right(header: str | None, *, method: str, path: str, login: tuple[str, str]) -> bool:
    """Whether an ``Authorization`` header answers the challenge for this request and login."""
    if header is None or not header.startswith("Digest "):
        return False
    said = {
        key: quoted or plain
        for key, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)
    }
    if said["nonce"] != NONCE or not said["uri"].endswith(path) or said["username"] != login[0]:
        return False
    who = _md5(f"{login[0]}:{REALM}:{login[1]}")
    what = _md5(f"{method}:{said['uri']}")
    middle = f"{said['nc']}:{said['cnonce']}:{said['qop']}:" if "qop" in said else ""
    return bool(said["response"] == _md5(f"{who}:{NONCE}:{middle}{what}"))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
