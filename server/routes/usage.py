"""What tenants have and did."""

from typing import Annotated

from fastapi import APIRouter, Query

from onlooker.core.protocol.usage import (
    FrameUsage,
    RefusedUsage,
    TenantLimitsObject,
    TokenUsage,
    UsageList,
    UsageObject,
)
from onlooker.server.access import AnyGateway, CallerGrant, error_docs
from onlooker.server.rights import Action
from onlooker.streams.tenancy.accounts import TenantReport

router = APIRouter(prefix="/v1/usage", tags=["operations"])


@router.get("", summary="Usage by tenant", responses=error_docs())
async def get_usage(
    gateway: AnyGateway,
    grant: CallerGrant,
    tenant: Annotated[
        str | None, Query(max_length=64, description="One tenant; default: all that you may see.")
    ] = None,
) -> UsageList:
    """What a tenant has on all servers together, what it did, and its limits. With the scope
    `admin` of all tenants, else of your own. Totals are a few seconds old."""
    if tenant is None and not grant.may(Action.READ_ALL_USAGE):
        tenant = grant.tenant
    if tenant not in (None, grant.tenant):
        grant.require(Action.READ_ALL_USAGE)
    report = await gateway.hub.accounts.report(tenant)
    return UsageList(
        data=[_usage(one) for one in report.tenants],
        servers=report.servers,
        is_whole=report.is_whole,
    )


def _usage(report: TenantReport) -> UsageObject:
    standing, totals = report.standing, report.totals
    return UsageObject(
        tenant=report.tenant,
        since=report.since_wall_s,
        streams=standing.streams,
        watches=standing.watches,
        fps=round(standing.fps, 2),
        memory_bytes=standing.memory_bytes,
        frames=FrameUsage(taken=totals.frames_taken, left_out=totals.frames_left_out),
        questions=totals.questions,
        tokens=TokenUsage(
            input=totals.input_tokens, cached=totals.cached_tokens, output=totals.output_tokens
        ),
        alerts=totals.alerts,
        refused=RefusedUsage(**report.refused),
        limits=TenantLimitsObject(**report.limits.model_dump()),
    )
