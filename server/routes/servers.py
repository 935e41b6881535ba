"""Which servers there are."""

from fastapi import APIRouter

from onlooker.core.protocol.http import ServerList
from onlooker.server.access import AnyGateway, CallerGrant, error_docs

router = APIRouter(prefix="/v1/servers", tags=["operations"])


@router.get("", summary="List servers", responses=error_docs())
async def list_servers(gateway: AnyGateway, grant: CallerGrant) -> ServerList:
    """List the servers that share one Redis, by name, as each last said of itself; one that says
    nothing for a while is left out. A server without a fleet lists itself."""
    if gateway.herald is None:
        return ServerList(data=[gateway.describe()])
    return ServerList(data=await gateway.herald.servers())
