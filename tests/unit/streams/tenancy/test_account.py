"""`Account`: what one tenant may have and do on a server that is alone, or has lost its Redis."""

from pathlib import Path

import pytest

from onlooker.cache_store.notices import NoticeBoard
from onlooker.cache_store.tenant_counts import RedisTenantCounts
from onlooker.core.clock import ManualClock
from onlooker.core.errors import LimitReached
from onlooker.core.media import DropReason
from onlooker.core.metrics import Metrics
from onlooker.streams.tenancy.account import RETRY_S, Account
from onlooker.streams.tenancy.fleet_link import FleetLink
from onlooker.streams.tenancy.limits import Limit, TenantLimits


def make_account(
    clock: ManualClock | None = None, *, link: FleetLink | None = None, **limits: float
) -> Account:
    found = TenantLimits.model_validate(limits)
    return Account("acme", found, clock=clock or ManualClock(), link=link)


def link_to_nothing(folder: Path, metrics: Metrics) -> FleetLink:
    """A link to a Redis that is not there."""
    url, names = f"unix://{folder}/none.sock", {"namespace": "onlooker:1", "server": "a"}
    return FleetLink(
        RedisTenantCounts(url, lasts_s=60.0, timeout_s=5.0, **names),
        NoticeBoard(url, lasts_s=60.0, timeout_s=5.0, **names),
        name="a",
        metrics=metrics,
    )


async def test_no_more_streams_are_opened_than_there_may_be() -> None:
    account = make_account(max_streams=2)
    await account.open_stream("one")
    await account.open_stream("two")
    with pytest.raises(LimitReached, match="has its 2 streams open") as refused:
        await account.open_stream("three")
    assert (refused.value.limit, refused.value.retry_after_s) == ("streams", RETRY_S)
    await account.close_stream("one")
    await account.open_stream("three")
    assert (account.standing().streams, account.refused[Limit.STREAMS]) == (2, 1)


async def test_a_stream_that_was_never_let_in_leaves_nothing() -> None:
    account = make_account(max_streams=1)
    await account.open_stream("one")
    await account.close_stream("two")
    assert account.standing().streams == 1


async def test_a_watch_over_the_limit_is_refused_and_one_that_failed_is_not_counted() -> None:
    account, made = make_account(max_watches=1), list[str]()
    account.serve("door", lambda: made)
    with pytest.raises(KeyError):
        async with account.making_watch("door", "one"):
            raise KeyError
    async with account.making_watch("door", "two"):
        made.append("two")
    with pytest.raises(LimitReached, match="has its 1 watches"):
        async with account.making_watch("door", "three"):
            raise AssertionError("it was let in")
    assert account.standing().watches == 1


async def test_a_question_too_many_is_told_when_there_is_room_again() -> None:
    clock = ManualClock()
    account = make_account(clock, max_questions_per_minute=2)
    await account.ask()
    clock.advance(20)
    await account.ask()
    with pytest.raises(LimitReached) as refused:
        await account.ask()
    assert (refused.value.limit, refused.value.retry_after_s) == ("questions_per_minute", 40.0)
    clock.advance(40)
    await account.ask()
    assert account.totals.questions == 3


def test_frames_over_the_limit_are_dropped_until_time_has_passed() -> None:
    clock = ManualClock()
    account = make_account(clock, max_fps=2)
    taken = [account.check_frame(waits=False) for _ in range(3)]
    assert taken == [None, None, DropReason.TENANT_FPS]
    clock.advance(0.5)
    assert account.check_frame(waits=False) is None
    assert account.refusal(DropReason.TENANT_FPS).limit == "fps"


def test_frames_that_are_never_dropped_wait_for_their_turn() -> None:
    account = make_account(max_fps=2)
    assert [account.frame_wait_s() for _ in range(4)] == [0.0, 0.0, 0.5, 1.0]
    assert account.check_frame(waits=True) is None


def test_frames_are_dropped_while_memory_is_full() -> None:
    account = make_account(max_memory_bytes=1 << 20)
    account.remembered["door"] = 1 << 20
    account.take_shares()
    assert account.check_frame(waits=True) is DropReason.TENANT_MEMORY
    assert account.refusal(DropReason.TENANT_MEMORY).limit == "memory_bytes"
    account.remembered["door"] -= 1
    account.take_shares()
    assert account.check_frame(waits=True) is None


async def test_without_limits_nothing_is_refused() -> None:
    account = make_account()
    for number in range(100):
        await account.open_stream(str(number))
        await account.ask()
        assert account.check_frame(waits=False) is None
    assert account.frame_wait_s() == 0


async def test_without_redis_limits_hold_on_this_server(tmp_path: Path) -> None:
    metrics = Metrics()
    link = link_to_nothing(tmp_path, metrics)
    account = make_account(link=link, max_streams=1, max_questions_per_minute=1)
    await account.open_stream("one")
    await account.ask()
    with pytest.raises(LimitReached, match="while Redis does not answer"):
        await account.open_stream("two")
    with pytest.raises(LimitReached):
        await account.ask()
    assert metrics.registry.get_sample_value("onlooker_tenant_limits_alone") == 1
    await link.close()
