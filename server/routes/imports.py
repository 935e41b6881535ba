"""Import recordings into a stream, in the background."""

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from onlooker.core.errors import InvalidRequest, UnsupportedMedia
from onlooker.core.ids import tenant_stream_id
from onlooker.core.protocol.client_events import explain_validation
from onlooker.core.protocol.http import CreateImportRequest, ImportList, ImportObject
from onlooker.server.access import CallerGrant, ReadyGateway, error_docs
from onlooker.server.bodies import JsonRequest
from onlooker.server.relay.route import StreamRoute
from onlooker.server.rights import Action
from onlooker.streams.hub import check_name
from onlooker.streams.importing.import_job import ImportJob
from onlooker.streams.sources.spec import redacted

router = APIRouter(prefix="/v1/streams", tags=["imports"], route_class=StreamRoute)

JSON_TYPE = "application/json"
MAX_STARTS_AT = 32503680000.0
"""Seconds since the Unix epoch: the year 3000."""

_NO_FILES = ("application/x-www-form-urlencoded", "multipart/form-data")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_EXAMPLES: dict[str, Any] = {
    "file": {
        "summary": "A file of the server's machine, below streams.sources.file_dirs",
        "value": {"url": "file:///srv/recordings/door.mp4", "starts_at": "2026-05-01T12:00:00Z"},
    },
    "address": {
        "summary": "A file at an address that the operator allows",
        "value": {"url": "https://nvr.example.org/door.mp4", "starts_at": 1777636800},
    },
}


@router.post(
    "/{stream_id}/imports",
    status_code=202,
    summary="Import a recording",
    responses=error_docs(400, 403, 404, 408, 409, 413, 415),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON_TYPE: {
                    "schema": CreateImportRequest.model_json_schema(),
                    "examples": _EXAMPLES,
                },
                "application/octet-stream": _BINARY,
                "video/mp4": _BINARY,
            },
        }
    },
)
async def create_import(
    gateway: ReadyGateway,
    grant: CallerGrant,
    request: Request,
    stream_id: str,
    starts_at: Annotated[
        str | None,
        Query(
            max_length=64,
            description="When the recording began: ISO 8601 (UTC where no zone is named), or "
            "seconds since the Unix epoch. With a file as the body.",
        ),
    ] = None,
    name: Annotated[
        str, Query(max_length=256, description="What to call the recording; shown only.")
    ] = "",
) -> ImportObject:
    """Import a recording by the wall clock: the server decodes it in the background, at the times
    at which it was made, and `GET …/imports/{import_id}` says how far it is.

    The body is the recording itself, with `?starts_at=`; or JSON with its address. The stream is
    opened (clock `virtual`, its time 0 at `starts_at`) where it is missing, and takes nothing from
    before what it has seen. Masks of the stream are applied before anything is looked at.
    """
    gateway.check_ready()
    check_name(stream_id)
    key = tenant_stream_id(grant.tenant, stream_id)
    importer = gateway.importer
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == JSON_TYPE:
        asked = await _asked(request)
        grant.require(Action.PULL_SOURCE)
        begun_s = _time(asked.starts_at, "starts_at")
        return _told(
            await importer.submit_url(key, asked.url, starts_at=begun_s, label=asked.name or "")
        )
    if media_type in _NO_FILES:
        raise UnsupportedMedia(
            f"the body is the recording itself, and not {media_type}: say Content-Type video/mp4 "
            "or application/octet-stream, as in curl -X POST -T FILE -H 'Content-Type: video/mp4'",
            param="Content-Type",
        )
    if starts_at is None:
        raise InvalidRequest(
            "say when the recording began: ?starts_at=2026-05-01T12:00:00Z", param="starts_at"
        )
    begun_s = _time(starts_at, "starts_at")
    async with importer.upload(grant.tenant) as upload:
        async for piece in _pieces(request):
            await upload.write(piece)
        await upload.finish()
        return _told(await importer.submit_upload(key, upload, starts_at=begun_s, label=name))


@router.get("/{stream_id}/imports", summary="List imports", responses=error_docs())
async def list_imports(gateway: ReadyGateway, grant: CallerGrant, stream_id: str) -> ImportList:
    """Imports into a stream, oldest first, also into one that is closed now. Of those that are over
    as many are kept as the setting `streams.imports.max_kept` says."""
    check_name(stream_id)
    jobs = gateway.importer.jobs(tenant_stream_id(grant.tenant, stream_id))
    return ImportList(data=[_told(job) for job in jobs])


@router.get("/{stream_id}/imports/{import_id}", summary="Inspect an import",
            responses=error_docs(404))  # fmt: skip
async def get_import(
    gateway: ReadyGateway, grant: CallerGrant, stream_id: str, import_id: str
) -> ImportObject:
    """How far an import is, or how it ended and why."""
    check_name(stream_id)
    return _told(gateway.importer.get(tenant_stream_id(grant.tenant, stream_id), import_id))


@router.delete(
    "/{stream_id}/imports/{import_id}",
    status_code=204,
    response_class=Response,
    summary="Cancel an import",
    responses=error_docs(404),
)
async def delete_import(
    gateway: ReadyGateway, grant: CallerGrant, stream_id: str, import_id: str
) -> None:
    """Cancel an import that is not over; what was imported stays in the stream
    (`DELETE /v1/streams/{stream_id}/memory` deletes it). One that is over is forgotten."""
    check_name(stream_id)
    await gateway.importer.drop(tenant_stream_id(grant.tenant, stream_id), import_id)


async def _asked(request: Request) -> CreateImportRequest:
    assert isinstance(request, JsonRequest), "the route's class makes it one"
    try:
        return CreateImportRequest.model_validate(await request.json())
    except ValidationError as error:
        message, param = explain_validation(error)
        raise InvalidRequest(message, param=param) from None
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise InvalidRequest("the recording broke off: its sender hung up") from None


def _time(given: str | float, param: str) -> float:
    """Seconds since the Unix epoch. Raises `InvalidRequest`."""
    try:
        wall_s = float(given)
    except ValueError:
        try:
            moment = datetime.fromisoformat(str(given))
        except ValueError:
            raise InvalidRequest(
                f"'{param}' is an ISO 8601 time such as 2026-05-01T12:00:00Z, or seconds since the "
                f"Unix epoch; got '{given}'",
                param=param,
            ) from None
        wall_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not (math.isfinite(wall_s) and 0 <= wall_s <= MAX_STARTS_AT):
        raise InvalidRequest(f"'{param}' is a time after 1970; got {given}", param=param)
    return wall_s


def _told(job: ImportJob) -> ImportObject:
    ratio = None
    if job.duration_s:
        ratio = min(1.0, job.done_s / job.duration_s)
    return ImportObject(
        id=job.id,
        stream=job.stream_id.rpartition("/")[2],
        name=job.label,
        url=redacted(job.url) if job.url else None,
        starts_at=job.starts_at,
        state=job.state.value,
        reason=job.reason or None,
        progress=1.0 if job.state == "done" else ratio,
        done_s=round(job.done_s, 3),
        duration_s=job.duration_s,
        left_out_s=round(job.left_out_s, 3),
        pictures=job.num_pictures,
        broken=job.num_broken,
        created_at=job.created_at,
        ended_at=job.ended_at,
    )
