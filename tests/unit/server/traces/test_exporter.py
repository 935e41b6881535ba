import asyncio
import logging

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.core.tracer import Tracer
from onlooker.server.traces.config import TracesSection
from onlooker.server.traces.exporter import SpanExporter
from onlooker.server.traces.making import make_tracer
from tests.contract.redis_server import free_port
from tests.fakes.collector import collecting
from tests.fakes.waiting import until


def make_exporter(url: str, metrics: Metrics, **settings: object) -> tuple[Tracer, SpanExporter]:
    section = TracesSection.model_validate({"endpoint": url, **settings})
    tracer = make_tracer(section, clock=ManualClock(), metrics=metrics)
    assert tracer is not None
    exporter = SpanExporter(tracer, section, resource={"service.instance.id": "a"}, metrics=metrics)
    return tracer, exporter


def count(metrics: Metrics, outcome: str) -> float:
    name = "onlooker_trace_spans_total"
    return metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


def spend(tracer: Tracer, num_spans: int) -> None:
    place = tracer.begin()
    for index in range(num_spans):
        tracer.step(f"part {index}", place, 1.0, 2.5, whole=index, share=0.5, is_it=True)


async def test_spans_arrive_whole_and_in_batches() -> None:
    metrics = Metrics()
    async with collecting() as collector:
        headers = ["Authorization: Bearer some-secret"]
        tracer, exporter = make_exporter(collector.url, metrics, max_batch=2, headers=headers)
        spend(tracer, 5)
        await exporter.close()
        assert [span.name for span in collector.spans] == [f"part {index}" for index in range(5)]
        span = collector.spans[1]
        assert span.end_ns - span.start_ns == 1_500_000_000
        assert span.attributes == {
            "onlooker.whole": 1, "onlooker.share": 0.5, "onlooker.is_it": True
        }  # fmt: skip
        assert span.server == "a"
        assert len(collector.heads) == 3
        assert all("authorization: bearer some-secret" in head for head in collector.heads)
        assert count(metrics, "exported") == 5


async def test_a_collector_that_is_away_is_told_of_once_and_gets_everything_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    async with collecting() as collector:
        tracer, exporter = make_exporter(collector.url, metrics)
        collector.status = 503
        spend(tracer, 3)
        with caplog.at_level(logging.INFO, "onlooker.server.traces"):
            for _ in range(4):
                await exporter.post()
            assert len(caplog.records) == 1
            assert tracer.num_waiting == 3
            collector.status = 200
            await exporter.post()
            assert len(caplog.records) == 2
        assert len(collector.spans) == 3
        await exporter.close()


async def test_a_collector_that_stays_away_is_tried_ever_more_seldom() -> None:
    async with collecting() as collector:
        collector.status = 503
        tracer, exporter = make_exporter(collector.url, Metrics(), interval_s=1.0)
        clock = tracer.clock
        assert isinstance(clock, ManualClock)
        spend(tracer, 1)
        running = asyncio.create_task(exporter.run())
        for num_posts, wait_s in enumerate((1.0, 1.0, 2.0, 4.0)):
            await until(lambda: len(clock._sleepers) == 1)
            clock.advance(wait_s * 0.99)
            assert len(collector.heads) == num_posts
            clock.advance(wait_s * 0.01)
            await until(lambda: len(collector.heads) == num_posts + 1)  # noqa: B023
        running.cancel()
        await exporter.close()


async def test_the_end_does_not_wait_for_a_port_where_nobody_listens() -> None:
    tracer, exporter = make_exporter(f"http://127.0.0.1:{free_port()}/v1/traces", Metrics())
    spend(tracer, 1)
    await exporter.close()
    assert tracer.num_waiting == 1


async def test_what_the_collector_refuses_for_good_is_let_go_and_counted() -> None:
    metrics = Metrics()
    async with collecting() as collector:
        tracer, exporter = make_exporter(collector.url, metrics)
        collector.status = 401
        spend(tracer, 3)
        await exporter.post()
        assert tracer.num_waiting == 0
        assert count(metrics, "refused") == 3
        await exporter.close()


def test_an_endpoint_is_an_address_and_a_header_has_a_name() -> None:
    for wrong in ({"endpoint": "collector:4317"}, {"headers": ["secret"]}):
        with pytest.raises(ValueError, match=r"collector:4318|NAME: VALUE"):
            TracesSection.model_validate(wrong)
