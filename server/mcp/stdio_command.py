"""`onlooker mcp`: the tools of a running server for agents that speak MCP over stdio."""

import asyncio
from typing import NoReturn

import httpx
import typer

from onlooker.clients.python.command_options import ApiKeyOption, CaOption, ServerOption
from onlooker.clients.python.options import DEFAULT_URL, ClientOptions, http_base, is_loopback
from onlooker.core.errors import OnlookerError
from onlooker.server.errors import NotInstalled
from onlooker.server.mcp.api import ServerApi
from onlooker.server.mcp.door import INSTALL, check_installed

EXIT_USAGE = 2


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("mcp")(mcp)


def mcp(
    server: ServerOption = DEFAULT_URL, api_key: ApiKeyOption = None, ca: CaOption = None
) -> None:
    """Speak MCP over stdin and stdout, for an agent that starts this command.

    Agents that speak MCP over HTTP need no command: the server does, at /mcp."""
    options = ClientOptions(ca_file=ca)
    try:
        check_installed()
        http = httpx.AsyncClient(
            base_url=http_base(server),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(options.connect_timeout_s, read=options.answer_timeout_s),
            trust_env=not is_loopback(http_base(server)),
            verify=options.tls(http_base(server)) or True,
        )
    except NotInstalled:
        _refuse(f"to speak MCP takes an extra: {INSTALL}")
    except OnlookerError as error:
        _refuse(error.message)
    asyncio.run(_serve(http))


async def _serve(http: httpx.AsyncClient) -> None:
    from onlooker.server.mcp.stdio import serve_stdio  # it needs the extra `mcp`

    async with http:
        await serve_stdio(ServerApi(http))


def _refuse(text: str) -> NoReturn:
    typer.echo(f"onlooker: {text}", err=True)
    raise SystemExit(EXIT_USAGE)
