"""Settings of tenants: what each may have and do, on all servers of a fleet together."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from onlooker.core.ids import is_stream_id
from onlooker.core.settings import Section


class Limit(StrEnum):
    """What of a tenant is limited; the words that errors and metrics use."""

    STREAMS = "streams"
    FPS = "fps"
    QUESTIONS = "questions_per_minute"
    MEMORY = "memory_bytes"
    WATCHES = "watches"

    @property
    def setting(self) -> str:
        """The name of the setting."""
        return f"max_{self.value}"


class TenantLimits(Section):
    """What one tenant may have and do, on all servers of a fleet together. Null: as much as the
    servers take. All servers need the same."""

    max_streams: int | None = Field(default=None, ge=0, le=1_000_000)
    """Streams open at the same time."""

    max_fps: float | None = Field(default=None, gt=0, le=1_000_000)
    """Frame messages a second of all its streams, with bursts of one second. More are dropped
    unread, as `tenant_fps`; on the virtual clock they wait."""

    max_questions_per_minute: int | None = Field(default=None, ge=1, le=100_000)
    """Questions that are begun in any minute, by whatever door they come."""

    max_memory_bytes: int | None = Field(default=None, ge=1 << 20, le=1 << 60)
    """Bytes of keys and values that are remembered of its open streams, one copy counted. When it
    is reached, further frames are dropped as `tenant_memory` until something was deleted or has
    grown too old to be kept; questions are answered."""

    max_watches: int | None = Field(default=None, ge=0, le=1_000_000)
    """Watches of all its open streams."""

    def of(self, limit: Limit) -> float | None:
        """The most that there may be; None where there is no limit."""
        most: float | None = getattr(self, limit.setting)
        return most


class TenantsSection(Section):
    """What each tenant may have and do (keys name their tenant: `server.api_keys`)."""

    limits: TenantLimits = TenantLimits()
    """Limits of every tenant."""

    named: Mapping[str, TenantLimits] = Field(default_factory=dict)
    """Limits of single tenants by their name, as a JSON object such as
    `{"acme": {"max_streams": 20}}` or as tables `[tenants.named.acme]`; what one does not name is
    as in `tenants.limits`, and null lifts it."""

    max_labelled: int = Field(default=20, ge=0, le=1000)
    """Tenants with figures of their own on `/metrics`: those of `named` first, then whoever comes
    first; all others share the label ``other``. `GET /v1/usage` tells of all."""

    @field_validator("named", mode="before")
    @classmethod
    def _read_named(cls, value: Any) -> Any:
        """Read a JSON object; texts of the environment are no objects yet."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else {}
        except ValueError:
            raise ValueError('a JSON object such as {"acme": {"max_streams": 20}}') from None

    @field_validator("named")
    @classmethod
    def _fill_in(
        cls, named: Mapping[str, TenantLimits], info: ValidationInfo
    ) -> Mapping[str, TenantLimits]:
        """What a tenant does not name is as for all."""
        for tenant in named:
            if not is_stream_id(tenant):
                raise ValueError("a tenant's name has 1 to 64 letters, digits or . _ -")
        limits = info.data.get("limits", TenantLimits())
        return {
            tenant: limits.model_copy(
                update={name: getattr(own, name) for name in own.model_fields_set}
            )
            for tenant, own in named.items()
        }

    def of(self, tenant: str) -> TenantLimits:
        """The limits of one tenant."""
        return self.named.get(tenant, self.limits)
