"""The MCP server as the official SDK wants it: its handlers, over the tools and the resources.

With `stdio.py` all that knows the SDK. It keeps no sessions: who calls is looked up with each call.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from pydantic import ValidationError
from starlette.requests import Request

from onlooker.core.protocol.base import MAX_TEXT_CHARS
from onlooker.core.protocol.client_events import explain_validation, quote
from onlooker.server.errors import hide
from onlooker.server.mcp.agent_tools import INSTRUCTIONS, MAX_STREAMS, TOOLS, AgentTool, ToolAnswer
from onlooker.server.mcp.api import ApiRefusal, ServerApi
from onlooker.server.mcp.resources import (
    ALERTS_TEMPLATE,
    MAX_FOLLOWED,
    PICTURE_TEMPLATE,
    STREAM_TEMPLATE,
    STREAMS_URI,
    TELLS,
    Part,
    ReadResource,
    address_of,
    alerts_uri,
    read,
    stream_uri,
)
from onlooker.server.release import package_version

ApiOf = Callable[[Request | None], ServerApi]
"""The API for whoever made a request; None over stdio, where one caller makes all."""

T = TypeVar("T")

_Context = ServerRequestContext[Any, Any]
_JSON = "application/json"


def make_http_sessions(api_of: ApiOf) -> StreamableHTTPSessionManager:
    """What answers MCP over HTTP. Each call stands for itself, so that any server of a fleet may
    get it."""
    return StreamableHTTPSessionManager(make_mcp_server(api_of), stateless=True)


def make_mcp_server(api_of: ApiOf) -> Server[Any]:
    """The server whose handlers call `api_of` of each request."""
    handlers = _Handlers(api_of)
    return Server(
        "onlooker",
        title="Onlooker",
        version=package_version(),
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
        on_subscriptions_listen=handlers.listen,
    )


class _Handlers:
    def __init__(self, api_of: ApiOf) -> None:
        self._api_of = api_of

    async def list_tools(
        self, context: _Context, page: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(name, one) for name, one in TOOLS.items()])

    async def call_tool(
        self, context: _Context, call: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """What goes wrong is told in the result, where the model reads it and may do better."""
        tool = TOOLS.get(call.name)
        if tool is None:
            return _refused(f"there is no tool '{quote(call.name)}'; there is {', '.join(TOOLS)}")
        try:
            takes = tool.takes.model_validate(call.arguments or {})
            return _result(await tool.call(self._api_of(context.request), takes))
        except ValidationError as error:
            return _refused(f"{call.name}: {explain_validation(error)[0]}")
        except ApiRefusal as refusal:
            return _refused(refusal.message)
        except Exception as error:
            return _refused(hide(error, where=f"mcp {call.name}").message)

    async def list_resources(
        self, context: _Context, page: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        api = self._api_of(context.request)
        listed = await _told(api.get("/v1/streams", limit=MAX_STREAMS))
        resources = [
            types.Resource(
                uri=STREAMS_URI,
                name="streams",
                title="Video streams",
                description="All open streams, as the HTTP API tells them.",
                mime_type=_JSON,
            )
        ]
        for stream in (one["id"] for one in listed["data"]):
            resources += [
                types.Resource(
                    uri=stream_uri(stream),
                    name=stream,
                    title=f"Stream {stream}",
                    description="The stream's state now. Subscribe to hear when it changes.",
                    mime_type=_JSON,
                ),
                types.Resource(
                    uri=alerts_uri(stream),
                    name=f"{stream}-alerts",
                    title=f"Alerts of stream {stream}",
                    description="What its watches have said. Subscribe to hear of new ones.",
                    mime_type=_JSON,
                ),
            ]
        return types.ListResourcesResult(resources=resources)

    async def list_templates(
        self, context: _Context, page: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        described = {
            STREAM_TEMPLATE: ("stream", "One stream's state now.", _JSON),
            ALERTS_TEMPLATE: ("alerts", "What the watches of a stream have said.", _JSON),
            PICTURE_TEMPLATE: (
                "picture",
                "What a stream showed at a time: seconds of stream time, or ISO 8601.",
                None,
            ),
        }
        templates = [
            types.ResourceTemplate(uri_template=uri, name=name, description=text, mime_type=kind)
            for uri, (name, text, kind) in described.items()
        ]
        return types.ListResourceTemplatesResult(resource_templates=templates)

    async def read_resource(
        self, context: _Context, wanted: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        found = await _told(read(self._api_of(context.request), str(wanted.uri)))
        return types.ReadResourceResult(contents=[_contents(str(wanted.uri), found)])

    async def listen(
        self, context: _Context, wanted: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Tell when alerts come to the streams, or their states change, until all of them have
        closed or the client hangs up. Other changes are told of nobody."""
        parts: dict[str, dict[Part, str]] = {}
        for uri in wanted.notifications.resource_subscriptions or ():
            address = address_of(str(uri))
            if address is not None and address.part != "picture":
                parts.setdefault(address.stream, {})[address.part] = str(uri)
        if len(parts) > MAX_FOLLOWED:
            raise MCPError(types.INVALID_PARAMS, f"a subscription may name {MAX_FOLLOWED} streams")
        assert context.request_id is not None
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        api = self._api_of(context.request)
        async with AsyncExitStack() as readers:
            following = {}
            for stream in parts:
                entering = readers.enter_async_context(api.follow(stream))
                following[stream] = await _told(entering)
            uris = [uri for told in parts.values() for uri in told.values()]
            await context.session.send_notification(
                types.SubscriptionsAcknowledgedNotification(
                    params=types.SubscriptionsAcknowledgedNotificationParams(
                        notifications=types.SubscriptionFilter(resource_subscriptions=uris or None),
                        _meta=meta,
                    )
                ),
                related_request_id=context.request_id,
            )
            async with asyncio.TaskGroup() as group:
                for stream, events in following.items():
                    group.create_task(_pass_on(context, events, parts[stream], meta))
        return types.SubscriptionsListenResult(_meta=meta)


async def _pass_on(
    context: _Context, events: AsyncIterator[str], uris: dict[Part, str], meta: dict[str, Any]
) -> None:
    """Tell of each event which resources it changes, as far as they are listened to."""
    async for kind in events:
        for part in TELLS.get(kind, ()):
            if part in uris:
                await context.session.send_notification(
                    types.ResourceUpdatedNotification(
                        params=types.ResourceUpdatedNotificationParams(uri=uris[part], _meta=meta)
                    ),
                    related_request_id=context.request_id,
                )


async def _told(work: Awaitable[T]) -> T:
    """The result of `work`; a refusal of the server's becomes an error of the protocol."""
    try:
        return await work
    except ApiRefusal as refusal:
        raise MCPError(types.INVALID_PARAMS, refusal.message) from refusal


def _described(name: str, tool: AgentTool) -> types.Tool:
    return types.Tool(
        name=name,
        title=tool.title,
        description=tool.description,
        input_schema=_schema(tool.takes.model_json_schema()),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.is_reading,
            destructive_hint=False,
            idempotent_hint=tool.is_repeatable,
            open_world_hint=not tool.is_reading,
        ),
    )


def _schema(written: dict[str, Any]) -> dict[str, Any]:
    """The schema without what tells a model nothing and costs it tokens: titles, nulls for what may
    be left out, and the limit that holds for every text."""
    written.pop("title")
    for field in written["properties"].values():
        field.pop("title")
        if field.get("maxLength") == MAX_TEXT_CHARS:
            field.pop("maxLength")
        if "default" in field and field["default"] is None:
            field.pop("default")
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        for kind in kinds:
            if kind.get("maxLength") == MAX_TEXT_CHARS:
                kind.pop("maxLength")
        if len(kinds) == 1:
            field.pop("anyOf")
            field.update(kinds[0])
        elif kinds:
            field["anyOf"] = kinds
    return written


def _result(answer: ToolAnswer) -> types.CallToolResult:
    text = types.TextContent(text=json.dumps(answer.data, ensure_ascii=False))
    content: list[types.ContentBlock] = [text]
    if answer.picture is not None:
        data = base64.b64encode(answer.picture.data).decode()
        content.append(types.ImageContent(data=data, mime_type=answer.picture.media_type))
    return types.CallToolResult(content=content, structured_content=answer.data)


def _refused(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=message)], is_error=True)


def _contents(
    uri: str, found: ReadResource
) -> types.TextResourceContents | types.BlobResourceContents:
    if isinstance(found.content, str):
        return types.TextResourceContents(uri=uri, mime_type=found.media_type, text=found.content)
    blob = base64.b64encode(found.content).decode()
    return types.BlobResourceContents(uri=uri, mime_type=found.media_type, blob=blob)
