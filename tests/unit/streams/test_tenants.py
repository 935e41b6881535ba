"""Tenants: names are each one's own, and nobody reaches another's streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.errors import InvalidRequest, NotFound
from onlooker.core.ids import (
    DEFAULT_TENANT,
    STREAM_ID_PATTERN,
    StreamId,
    split_stream_id,
    tenant_stream_id,
)
from onlooker.streams.hub import StreamHub
from onlooker.streams.tenants import TenantStreams
from tests.fakes.streams import running_hub

NAMES = st.from_regex(STREAM_ID_PATTERN, fullmatch=True)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=4))
def test_ids_of_different_streams_differ_and_can_be_taken_apart(
    streams: list[tuple[str, str]],
) -> None:
    ids = [tenant_stream_id(tenant, name) for tenant, name in streams]
    assert [split_stream_id(stream_id) for stream_id in ids] == streams
    assert len(set(ids)) == len(set(streams))


def both(hub: StreamHub) -> tuple[TenantStreams, TenantStreams]:
    return TenantStreams(hub, "acme"), TenantStreams(hub, DEFAULT_TENANT)


async def test_streams_of_one_name_are_two() -> None:
    async with running_hub() as hub:
        acme, other = both(hub)
        ours, theirs = [await streams.open_stream("door") for streams in (acme, other)]
        assert ours is not theirs
        assert ours.name == theirs.name == "door"
        assert (acme.get("door"), other.get("door")) == (ours, theirs)
        assert (acme.streams(), other.streams()) == ([ours], [theirs])
        await acme.close_stream("door", "enough")
        assert (acme.streams(), other.streams()) == ([], [theirs])
        with pytest.raises(NotFound, match="no stream 'door'"):
            acme.get("door")


@pytest.mark.parametrize("name", ["acme/door", "acme/", "/door", "../acme/door", "default/door"])
async def test_no_name_reaches_into_another_tenant(name: str) -> None:
    async with running_hub() as hub:
        acme, other = both(hub)
        for streams in (acme, other):
            await streams.open_stream("door")
        with pytest.raises(NotFound):
            other.get(name)
        with pytest.raises(NotFound):
            await other.close_stream(name, "not theirs")
        with pytest.raises(InvalidRequest, match="1 to 64"):
            await other.open_stream(name)
        assert len(hub.streams()) == 2


async def test_a_tenant_that_cannot_stand_in_a_key_is_refused() -> None:
    async with running_hub() as hub:
        with pytest.raises(InvalidRequest, match="1 to 64"):
            await hub.open_stream(StreamId("a b/door"))
