"""SOAP as ONVIF speaks it: envelopes to send, and replies taken apart with distrust.

SOAP has no document types. A reply that declares one is refused before anything is parsed, so
entities that grow without bound, or name files and hosts, are never declared.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from onlooker.clients.python.cameras.found import CameraTrouble

SOAP = "http://www.w3.org/2003/05/soap-envelope"
_SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_TOKENS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0"
_MESSAGES = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0"

_BARE_AMPERSAND = re.compile("&(?!#|(?:amp|lt|gt|quot|apos);)")
"""Some cameras write addresses into their XML as they are."""


@dataclass(frozen=True, slots=True)
class CameraLogin:
    """A user of the cameras'."""

    username: str
    password: str


def envelope(body: str, *, header: str = "", namespace: str = "") -> bytes:
    """A message with this XML in it, whose prefix ``x`` stands for `namespace`."""
    prefix = f' xmlns:x="{namespace}"' if namespace else ""
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{SOAP}">'
        f"<s:Header>{header}</s:Header><s:Body{prefix}>{body}</s:Body></s:Envelope>"
    )
    return text.encode()


def username_token(login: CameraLogin, *, wall_s: float) -> str:
    """The header that proves a login without telling the password (WS-Security's digest).
    `wall_s`: the time by the camera's own clock, since it takes no old ones."""
    nonce = secrets.token_bytes(16)
    created = datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    proof = hashlib.sha1(
        nonce + created.encode() + login.password.encode(), usedforsecurity=False
    ).digest()
    return (
        f'<w:Security xmlns:w="{_SECURITY}" xmlns:u="{_UTILITY}" s:mustUnderstand="true">'
        f"<w:UsernameToken><w:Username>{escape(login.username)}</w:Username>"
        f'<w:Password Type="{_TOKENS}#PasswordDigest">{base64.b64encode(proof).decode()}'
        f'</w:Password><w:Nonce EncodingType="{_MESSAGES}#Base64Binary">'
        f"{base64.b64encode(nonce).decode()}</w:Nonce><u:Created>{created}</u:Created>"
        "</w:UsernameToken></w:Security>"
    )


def body_of(message: bytes) -> Element:
    """The body of a message.

    Raises:
        CameraTrouble: it is none of SOAP.
    """
    text = message.decode("utf-8-sig", "replace")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise CameraTrouble("its reply declares a document type, which SOAP forbids: not read")
    try:
        # The text is known to declare no entities, which is what the rule is about.
        body = ElementTree.fromstring(_BARE_AMPERSAND.sub("&amp;", text)).find(f"{{{SOAP}}}Body")  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise CameraTrouble(
            "its reply is no XML: check that this is the address of an ONVIF service"
        ) from error
    if body is None:
        raise CameraTrouble("its reply is no SOAP: check that this is an ONVIF camera")
    return body


def find(element: Element, *names: str) -> Element | None:
    """The first element below that is reached by these names, one inside the other, in whatever
    namespaces they are."""
    for name in names:
        inside = (one for one in element.iter() if one is not element and _local(one) == name)
        below = next(inside, None)
        if below is None:
            return None
        element = below
    return element


def find_all(element: Element, name: str) -> list[Element]:
    """All elements below of this name, in whatever namespaces."""
    return [one for one in element.iter() if _local(one) == name]


def text_of(element: Element | None, *names: str) -> str:
    """The text of what `find` finds; empty where there is none."""
    found = find(element, *names) if element is not None else None
    return (found.text or "").strip() if found is not None else ""


def number_of(element: Element | None, *names: str) -> int | None:
    """As `text_of`, of a whole number; None where it is none."""
    text = text_of(element, *names)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
