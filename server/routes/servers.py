"""Which servers there are, and draining the one that is asked."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from onlooker.core.protocol.http import ServerList, ServerObject
from onlooker.server.access import AnyGateway, CallerGrant, error_docs
from onlooker.server.drain import Drain

router = APIRouter(prefix="/v1/servers", tags=["operations"])


async def _drain_of(request: Request) -> Drain:
    drain = request.app.state.drain
    assert isinstance(drain, Drain)
    return drain


ServerDrain = Annotated[Drain, Depends(_drain_of)]


@router.get("", summary="List servers", responses=error_docs())
async def list_servers(gateway: AnyGateway, grant: CallerGrant) -> ServerList:
    """List the servers that share one Redis, by name, as each last said of itself; one that says
    nothing for a while is left out. A server without a fleet lists itself."""
    if gateway.herald is None:
        return ServerList(data=[gateway.describe()])
    return ServerList(data=await gateway.herald.servers())


@router.post("/self/drain", status_code=202, summary="Drain this server", responses=error_docs())
async def drain_server(gateway: AnyGateway, grant: CallerGrant, drain: ServerDrain) -> ServerObject:
    """Empty the server that is asked, which is never another one: it is not ready any more and
    takes nothing new, answers end, and its streams go on at other servers. Returns at once; it is
    empty when `streams` and `connections` are 0. Asked again, it says how far it is."""
    drain.begin()
    return gateway.describe()


@router.delete("/self/drain", summary="Call a drain off", responses=error_docs())
async def cancel_drain(gateway: AnyGateway, grant: CallerGrant, drain: ServerDrain) -> ServerObject:
    """Take work again. Streams that went on elsewhere stay there. A server that is being stopped
    cannot be called back."""
    await drain.cancel()
    return gateway.describe()
