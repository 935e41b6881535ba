"""Is the process alive, does it take work, and its figures."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from onlooker.core.errors import NotFound
from onlooker.core.protocol.http import HealthReply
from onlooker.server.access import AnyGateway, Credentials, check_caller, error_docs
from onlooker.server.gateway import Phase

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Alive?", responses={503: {"model": HealthReply}})
async def healthz(gateway: AnyGateway, response: Response) -> HealthReply:
    """200 while the process works, also while the model is loaded or its engine, having died, is
    started again; 503: restart it."""
    if gateway.phase is Phase.FAILED or (gateway.phase is Phase.READY and not gateway.hub.alive()):
        response.status_code = 503
        return HealthReply(status="failed", reason="the engine is gone; restart the server")
    return HealthReply(status="ok")


@router.get("/readyz", summary="Ready for traffic?", responses={503: {"model": HealthReply}})
async def readyz(gateway: AnyGateway, response: Response) -> HealthReply:
    """200 when streams and questions are taken; 503 while not: starting, recovering, draining."""
    if gateway.phase is Phase.READY and gateway.hub.ready():
        return HealthReply(status="ok")
    response.status_code = 503
    if gateway.phase is Phase.STARTING:
        return HealthReply(status="starting", reason=gateway.progress)
    if gateway.phase is Phase.DRAINING:
        return HealthReply(status="draining", reason="the server is shutting down")
    if gateway.phase is Phase.READY and gateway.hub.alive() and gateway.hub.is_stalled:
        return HealthReply(status="recovering", reason="pictures wait, and none is being decoded")
    if gateway.phase is Phase.READY and gateway.hub.alive():
        return HealthReply(status="recovering", reason="the engine died and is being started again")
    return HealthReply(status="failed", reason="the engine is gone; restart the server")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        **error_docs(),
        200: {
            "description": "The figures.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
)
async def metrics(gateway: AnyGateway, request: Request, shown: Credentials) -> Response:
    """Every metric in Prometheus' text form. Where several gateways share a port, each tells its
    own figures at its own port, and 404 says where these are."""
    _, port = request.scope.get("server") or ("", None)
    if gateway.shared_port is not None and port == gateway.shared_port:
        where = " ".join(f"{url}/metrics" for url in gateway.own_urls)
        raise NotFound(f"each gateway tells its figures at a port of its own: scrape {where}")
    if gateway.settings.server.metrics_need_key:
        check_caller(request, gateway, shown)
    text = generate_latest(gateway.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
