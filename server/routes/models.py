"""Which model is served, as OpenAI's clients ask for it."""

from fastapi import APIRouter

from onlooker.core.protocol.http import ModelList, ModelObject
from onlooker.server.access import ReadyGateway, error_docs
from onlooker.server.gateway import Gateway

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", summary="List models", responses=error_docs())
async def list_models(gateway: ReadyGateway) -> ModelList:
    """The one model that this server serves."""
    return ModelList(data=[_model(gateway)])


@router.get("/{model:path}", summary="Inspect a model", responses=error_docs(404))
async def get_model(gateway: ReadyGateway, model: str) -> ModelObject:
    """The served model, or 404."""
    gateway.check_model(model)
    return _model(gateway)


def _model(gateway: Gateway) -> ModelObject:
    info = gateway.hub.info
    return ModelObject(
        id=info.model,
        created=int(gateway.started_wall_s),
        knows=info.knows,
        dialogue_turns=gateway.dialogue_turns,
    )
