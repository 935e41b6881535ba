"""Why a source cannot be played: each says what it is and what to do, in words for people."""

import errno
import socket
import ssl

from onlooker.core.address import Target

NO_VIDEO = "there is no video in it, only sound or data: name a stream or file that has pictures"

DAMAGED = "it is damaged or cut off here: nothing more of it can be read"

NO_PICTURES = (
    "it ended without a single picture: it is empty, cut off, or holds no video that this server "
    "can decode"
)

_PICTURE_HEADS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",  # AVI begins so, too, but is read as video before anybody looks here
}


def of_status(status: int, *, has_login: bool, realm: str = "server") -> str:
    """What a `server` or `camera` means that answers with this status, 400 or more."""
    said = f"(status {status})"
    match status:
        case 401 | 407 if has_login:
            return f"the {realm} refuses this user name or password {said}: check both"
        case 401 | 407:
            return (
                f"the {realm} wants a login {said}: put user name and password into the address, "
                "as in scheme://USER:PASSWORD@host/path"
            )
        case 403:
            return f"the {realm} forbids it {said}: check what this user or this server may see"
        case 404 | 410 | 454:
            return f"the {realm} has nothing at this address {said}: check the path"
        case 408 | 425 | 429:
            return f"the {realm} wants to be asked later {said}"
        case 453:
            return f"the {realm} has no bandwidth left {said}: end another of its viewers"
        case 461:
            return (
                f"the {realm} does not send this way {said}: choose the other `transport`, tcp or "
                "udp"
            )
        case _ if status >= 500:
            return f"the {realm} failed {said}: look at its own log"
    return f"the {realm} refuses it {said}: check the address"


def of_unreachable(target: Target, error: BaseException) -> str:
    """Why no connection came about."""
    where = f"cannot reach {target.host}"
    cause = _operating_systems(error)
    match cause:
        case ssl.SSLCertVerificationError():
            return (
                f"{where}: its TLS certificate is not trusted ({cause.verify_message}). Add the "
                "authority that signed it to this machine's (environment variable SSL_CERT_FILE)"
            )
        case ssl.SSLError():
            return (
                f"{where}: the TLS handshake failed ({cause.reason or 'cut off'}). Does port "
                f"{target.port} speak TLS? If not, use the scheme without the s"
            )
        case ConnectionRefusedError():
            return (
                f"{where}: nothing listens at port {target.port} (connection refused). Check the "
                "port, and that it runs"
            )
        case socket.gaierror():
            return f"{where}: this name is not known. Check how it is written"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return f"{where}: there is no route to it. Check the address and the network"
        case TimeoutError():
            return (
                f"{where}: nothing answers at port {target.port}. Check address and port; a "
                "firewall may be in between"
            )
    return f"{where}: {str(error) or type(error).__name__}"


def _operating_systems(error: BaseException) -> BaseException:
    """The error underneath that the operating system or TLS raised; `error` where there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return error if cause is None else cause


def of_costly(what: str = "it takes more processor time than its budget") -> str:
    """Why a source whose pictures cost too much is not decoded."""
    return (
        f"decoding it costs too much: {what}. Have the camera send smaller or simpler pictures, "
        "such as baseline JPEG (settings streams.decoding)"
    )


def of_content(media_type: str, head: bytes, *, is_file: bool = False) -> str:
    """Why something that was fetched is no video; `head` holds its first bytes. `is_file`: it lies
    on this machine."""
    if not head:
        return "it is empty: not one byte came"
    picture = picture_kind(media_type, head)
    if picture is not None:
        return of_picture(picture, is_file=is_file)
    if head[4:8] == b"ftyp":
        return (
            "it is no video that this server can read: an MP4 without its index, which was cut off "
            "or is still being written. Record fragmented MP4 or MPEG-TS to read it meanwhile"
        )
    if media_type.startswith("text/") or media_type in ("application/json", "application/xml"):
        return (
            f"it is no video that this server can read but text ({media_type}): give the address "
            "of the stream or file itself, not of a page that shows it"
        )
    return (
        "it is no video that this server can read: it is something else, is cut off at its start, "
        "or is damaged"
    )


def of_picture(kind: str, *, is_file: bool = False) -> str:
    """Why a single picture is not played; `is_file`: it lies on this machine."""
    what = f"it is a single picture ({kind}), not video: "
    if is_file:
        return what + "push it to the stream, or ask about it with a question"
    return what + 'say how often to fetch it, as in "every_s": 2 beside the url'


def picture_kind(media_type: str, head: bytes) -> str | None:
    """The kind of picture that this is; None where it is none. GIFs are played as video."""
    for magic, kind in _PICTURE_HEADS.items():
        if head.startswith(magic) and (kind != "WebP" or head[8:12] == b"WEBP"):
            return kind
    named = media_type.removeprefix("image/")
    return {"jpeg": "JPEG", "jpg": "JPEG", "png": "PNG", "webp": "WebP"}.get(named)
