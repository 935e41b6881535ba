"""The pieces of the soak: the ledger of what is known, and what is made of the minutes."""

import argparse
import random
from typing import Any, cast

import pytest

from onlooker.benchmarks.processes import Holdings
from onlooker.benchmarks.scenarios import soak
from onlooker.benchmarks.soak.ledger import NUM_CLIPS, NUM_STREAMS, TRIES, Ledger
from onlooker.benchmarks.soak.minutes import Minute, judged
from onlooker.clients.python.client import Client
from onlooker.core.clock import SystemClock
from onlooker.core.errors import EngineRestarting
from onlooker.core.guarantee import Guarantee
from onlooker.core.protocol.answer_facts import AnswerFacts
from onlooker.core.protocol.http import AnswerReply, FrameReply


class Server:
    """What a `Ledger` asks of a client, with answers that a test can change."""

    def __init__(self) -> None:
        self.guarantee = Guarantee.PROCESS
        self.forgotten: set[int] = set()
        self.is_silent = False
        """Whether it does not say that something is missing."""
        self.answer = "a red circle"
        self.num_refusals = 0
        self.closed: list[str] = []

    async def create_stream(self, name: str, **options: Any) -> None: ...

    async def close_stream(self, name: str) -> None:
        self.closed.append(name)

    async def push_frame(self, name: str, picture: bytes, *, at_s: float) -> FrameReply:
        return FrameReply(sequence=0, outcome="kept", guarantee=self.guarantee, capture_s=at_s)

    async def ask(self, name: str, question: str, **options: Any) -> AnswerReply:
        if self.num_refusals:
            self.num_refusals -= 1
            raise EngineRestarting("it is being started")
        second = int(question.split()[-2])
        is_there = second not in self.forgotten
        facts = AnswerFacts(
            clip_spans_s=[(second, second + 0.5)] if is_there else [],
            memory_incomplete=not is_there and not self.is_silent,
        )
        return AnswerReply(
            id="a", status="completed", stream=name, question=question, answer=self.answer,
            onlooker=facts,
        )  # fmt: skip


class Hasty(SystemClock):
    """Waits for nothing."""

    async def sleep(self, duration_s: float) -> None: ...


async def grown(server: Server, num_streams: int = 1) -> Ledger:
    ledger = Ledger(cast(Client, server), [b""] * 16, Hasty(), random.Random(1))
    for _ in range(num_streams):
        await ledger.grow()
    return ledger


async def test_what_is_there_and_answered_as_before_is_right() -> None:
    ledger = await grown(Server())
    await ledger.audit()
    assert ledger.counts == {"acknowledged": NUM_CLIPS, "right": NUM_CLIPS}
    assert ledger.told == []


async def test_another_answer_to_the_same_question_is_wrong() -> None:
    server = Server()
    ledger = await grown(server)
    server.answer = "a blue star"
    await ledger.check()
    assert ledger.counts["wrong"] == 1
    assert "'a blue star', before 'a red circle'" in ledger.told[0]


async def test_a_promised_clip_that_is_gone_when_all_is_well_is_lost() -> None:
    server = Server()
    ledger = await grown(server)
    server.forgotten = {3}
    await ledger.audit()
    assert (ledger.counts["lost"], ledger.counts["incomplete"], ledger.counts["wrong"]) == (1, 1, 0)


async def test_while_a_fault_lasts_a_clip_may_be_missing_but_not_without_a_word() -> None:
    server = Server()
    ledger = await grown(server)
    server.forgotten = set(range(NUM_CLIPS))
    await ledger.check()
    assert (ledger.counts["incomplete"], ledger.counts["wrong"], ledger.counts["lost"]) == (1, 0, 0)
    server.is_silent = True
    await ledger.check()
    assert ledger.counts["wrong"] == 1


async def test_what_was_promised_to_nobody_is_not_lost() -> None:
    server = Server()
    server.guarantee = Guarantee.NONE
    ledger = await grown(server)
    server.forgotten = {3}
    await ledger.audit()
    assert ledger.counts["lost"] == 0


async def test_a_refusal_is_no_fault_while_there_is_one_and_is_waited_out_afterwards() -> None:
    server = Server()
    ledger = await grown(server)
    server.num_refusals = 1
    await ledger.check()
    assert ledger.counts["refused"] == 1
    server.num_refusals = TRIES - 1
    await ledger.audit()
    assert (ledger.counts["right"], ledger.told) == (NUM_CLIPS, [])
    server.num_refusals = TRIES
    await ledger.audit()
    assert "cannot be asked about" in ledger.told[0]


async def test_the_oldest_streams_are_deleted() -> None:
    server = Server()
    await grown(server, NUM_STREAMS + 2)
    assert server.closed == ["ledger-0", "ledger-1"]


def a_minute(number: int, *, threads: int = 10, server: int = 100 << 20) -> Minute:
    return Minute(
        minute=number, faults=(), holdings=Holdings(2, server, 20, threads), streams=3,
        rss_bytes={"server": server}, redis_keys=1, worst_ms={}, crowd={}, ledger={},
    )  # fmt: skip


def test_what_grows_is_told_and_the_first_minute_does_not_count() -> None:
    minutes = [a_minute(0, server=1 << 20)]
    minutes += [a_minute(n, threads=10 + 3 * n) for n in range(1, 10)]
    found = judged(minutes)
    assert [name for name, one in found.items() if one["grows"]] == ["threads"]
    assert judged(minutes[:1]) == {}


def test_it_takes_half_an_hour_unless_told_otherwise() -> None:
    parser = argparse.ArgumentParser()
    soak.add_options(parser)
    assert parser.parse_args([]).minutes == pytest.approx(30)
    assert parser.parse_args(["--minutes", "5"]).minutes == pytest.approx(5)
