"""Send video over WebRTC: WHIP (RFC 9725), as OBS, GStreamer, browsers and phones speak it."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Request, Response

from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError, UnsupportedMedia
from onlooker.core.ids import tenant_stream_id
from onlooker.server.access import (
    AnyGateway,
    CallerGrant,
    CallerStreams,
    Credentials,
    ReadyGateway,
    error_docs,
    shown_credential,
)
from onlooker.server.errors import (
    MissingTag,
    NotInstalled,
    StaleTag,
    Unprocessable,
    WrongMethod,
    reply_of,
)
from onlooker.server.gateway import Gateway
from onlooker.server.relay.placing import check_placed
from onlooker.server.relay.route import StreamRoute
from onlooker.server.rights import Action, expiry
from onlooker.server.views import WEBRTC_OWNER
from onlooker.streams.source_config import WebRtcSection
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams

if TYPE_CHECKING:  # it needs the extra `webrtc`
    from onlooker.streams.webrtc.roster import PeerRoster

router = APIRouter(prefix="/v1/whip", tags=["webrtc"], route_class=StreamRoute)

OFFER_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"

DOOR_CALLS, SESSION_CALLS = "POST, OPTIONS", "PATCH, DELETE, OPTIONS"

TOLD_HEADERS = ("Location", "ETag", "Link", "Accept-Post", "Accept-Patch")
"""Headers of replies that a web page of another origin has to read."""

_SDP = {"schema": {"type": "string"}}


@router.post(
    "/{stream_id}",
    status_code=201,
    response_class=Response,
    summary="Begin to send video over WebRTC",
    responses={
        201: {
            "description": "The SDP answer.",
            "content": {OFFER_TYPE: _SDP},
        },
        **error_docs(400, 409, 413, 415, 429, 501),
    },
    openapi_extra={"requestBody": {"required": True, "content": {OFFER_TYPE: _SDP}}},
)
async def begin_session(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    request: Request,
    stream_id: str,
) -> Response:
    """Send an SDP offer; the answer says where to send the video (WHIP, RFC 9725).

    The stream is opened if it is not open yet, and stays when the session ends. H.264, VP8 and VP9
    are taken; sound is not. One source feeds a stream at a time.
    """
    gateway.check_ready()
    peers = _peers_of(gateway)
    _check_type(request, OFFER_TYPE)
    offer = peers.parse_offer(await _text_of(request))
    peers.check_room(grant.tenant)

    def may_open() -> None:
        grant.require(Action.OPEN_STREAM)
        check_placed(gateway, request, grant.tenant, stream_id)

    stream, is_new = await _stream_of(streams, stream_id, may_open)
    until = partial(expiry, grant, gateway.clock) if grant.expires_at is not None else None
    try:
        peer, answer = await peers.join(
            stream,
            offer,
            owner=WEBRTC_OWNER,
            until=until,
            on_end=gateway.connections.discard,
        )
    except OnlookerError:
        if is_new:
            await streams.close_stream(stream.name, "its WebRTC session could not begin")
        raise
    gateway.connections.add(peer)
    root = request.scope.get("root_path", "")
    headers = {
        "Location": f"{root}/v1/whip/{stream.name}/{peer.session_id}",
        "ETag": peer.entity_tag,
        "Accept-Patch": FRAGMENT_TYPE,
    }
    reply = Response(answer, 201, headers, media_type=OFFER_TYPE)
    _add_ice_servers(reply, gateway.settings.streams.webrtc)
    return reply


@router.patch(
    "/{stream_id}/{session_id}",
    status_code=204,
    response_class=Response,
    summary="Name further addresses of a WebRTC session",
    responses=error_docs(400, 404, 412, 413, 415, 422, 428, 501),
    openapi_extra={"requestBody": {"required": True, "content": {FRAGMENT_TYPE: _SDP}}},
)
async def add_candidates(
    gateway: ReadyGateway,
    streams: CallerStreams,
    request: Request,
    stream_id: str,
    session_id: str,
    if_match: Annotated[str | None, Header(description="The session's `ETag`.")] = None,
) -> Response:
    """Name addresses that were found after the offer (trickle ICE). ICE restarts are not done:
    begin a new session instead."""
    peers = _peers_of(gateway)
    _check_type(request, FRAGMENT_TYPE)
    peer = peers.get(streams.get(stream_id), session_id)
    if if_match is None:
        raise MissingTag("say with 'If-Match' which ICE the addresses belong to", param="If-Match")
    fragment = peers.parse_fragment(await _text_of(request))
    if if_match == "*" or fragment.ice_username != peer.remote_username:
        raise Unprocessable("ICE restarts are not done here; end the session and begin a new one")
    if if_match.removeprefix("W/") != peer.entity_tag:
        raise StaleTag("the session's ICE is another one", param="If-Match")
    await peer.try_addresses(fragment.candidates, fragment.num_unusable)
    return Response(status_code=204, headers={"ETag": peer.entity_tag})


@router.delete(
    "/{stream_id}/{session_id}",
    status_code=200,
    response_class=Response,
    summary="End a WebRTC session",
    responses=error_docs(404, 501),
)
async def end_session(
    gateway: ReadyGateway, grant: CallerGrant, stream_id: str, session_id: str
) -> Response:
    """End the session; its stream stays."""
    wanted = tenant_stream_id(grant.tenant, stream_id)
    await _peers_of(gateway).end(wanted, session_id, "its client ended it")
    return Response(status_code=200)


@router.options(
    "/{stream_id}", status_code=204, response_class=Response, summary="What WebRTC sessions take"
)
async def describe_door(gateway: AnyGateway, shown: Credentials, stream_id: str) -> Response:
    """Says which media type offers have; to callers who may push, also which ICE servers there
    are."""
    reply = Response(status_code=204, headers={"Allow": DOOR_CALLS, "Accept-Post": OFFER_TYPE})
    try:
        gateway.auth.check(shown_credential(shown)).require(Action.PUSH_FRAME)
    except OnlookerError:
        return reply
    _add_ice_servers(reply, gateway.settings.streams.webrtc)
    return reply


@router.options(
    "/{stream_id}/{session_id}",
    status_code=204,
    response_class=Response,
    summary="What a WebRTC session takes",
)
async def describe_session(stream_id: str, session_id: str) -> Response:
    """Says what may be done with a session."""
    allowed = {"Allow": SESSION_CALLS, "Accept-Patch": FRAGMENT_TYPE}
    return Response(status_code=204, headers=allowed)


@router.api_route("/{stream_id}", methods=["GET", "HEAD", "PUT"], include_in_schema=False)
@router.api_route(
    "/{stream_id}/{session_id}", methods=["GET", "HEAD", "PUT"], include_in_schema=False
)
async def refuse_others(stream_id: str, session_id: str | None = None) -> Response:
    """What WHIP has no use for, and would otherwise be looked for among the files of the page."""
    calls = DOOR_CALLS if session_id is None else SESSION_CALLS
    status, headers, body = reply_of(WrongMethod(f"video comes here by WHIP, which is {calls}"))
    return Response(body, status, {**headers, "Allow": calls})


def _peers_of(gateway: Gateway) -> "PeerRoster":
    """The sessions of the server. Raises `NotInstalled` where it cannot have any."""
    if gateway.peers is None:
        raise NotInstalled(
            "this server takes no WebRTC: its operator has to install the extra, with "
            "pip install 'onlooker[webrtc]', and start it again"
        )
    return gateway.peers


def _check_type(request: Request, wanted: str) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != wanted:
        raise UnsupportedMedia(
            f"Content-Type '{media_type[:80]}' is not taken here; send {wanted}",
            param="Content-Type",
        )


async def _text_of(request: Request) -> str:
    body = await request.body()
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is no text in UTF-8, which SDP is") from error


async def _stream_of(
    streams: TenantStreams, name: str, may_open: Callable[[], None]
) -> tuple[Stream, bool]:
    """The stream, and whether it was opened for this."""
    try:
        return streams.get(name), False
    except NotFound:
        may_open()
        return await streams.open_stream(name), True


def _add_ice_servers(reply: Response, section: WebRtcSection) -> None:
    """Tell of STUN and TURN servers, as RFC 9725 (section 4.6) has it."""
    if section.stun_server:
        reply.headers.append("Link", f'<stun:{section.stun_server}>; rel="ice-server"')
    if section.turn_server:
        username = _quoted(section.turn_username)
        password = _quoted(section.turn_password.get_secret_value())
        reply.headers.append(
            "Link",
            f'<turn:{section.turn_server}?transport=udp>; rel="ice-server"; '
            f"username={username}; credential={password}; "
            'credential-type="password"',
        )


def _quoted(text: str) -> str:
    """A header's quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
