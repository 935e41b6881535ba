"""`BrokerLink`: the connection to a broker of MQTT, which is made again whenever it is lost.

The only file that knows the package `aiomqtt`, which comes with the extra ``mqtt``.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiomqtt

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.server.mqtt.config import MqttSection
from onlooker.server.mqtt.topics import OFFLINE, ONLINE, MqttTopics, digest

_log = logging.getLogger("onlooker.server.mqtt")

MAX_FOUND = 20_000
"""The most messages that are read of what a broker holds; it holds fewer of one fleet."""


class BrokerSession:
    """One connection, while it lasts. All calls raise `aiomqtt.MqttError` once it is lost."""

    def __init__(self, client: aiomqtt.Client, topics: MqttTopics, timeout_s: float) -> None:
        self._client, self._topics, self._timeout_s = client, topics, timeout_s
        self._found: dict[str, bytes] = {}
        self._is_read = asyncio.Event()
        self._may_read = True

    async def hold(self, topic: str, value: bytes) -> None:
        """Have the broker hold a value; returns once it has said so. An empty one deletes."""
        await self._client.publish(topic, value, qos=1, retain=True)

    async def tell_once(self, topic: str, value: bytes) -> None:
        """Have the broker pass a value on exactly once to whoever asks for that, and hold it;
        returns once it has said that it will."""
        await self._client.publish(topic, value, qos=2, retain=True)

    async def held(self, pattern: str) -> dict[str, bytes]:
        """What the broker holds under topics that match; nothing where it does not let this server
        read, which is logged once."""
        if not self._may_read:
            return {}
        self._found = {}
        self._is_read.clear()
        # What is held comes in the order of the filters: the status, which is held, marks the end.
        await self._client.subscribe([(pattern, 1), (self._topics.status, 1)])
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self._is_read.wait()
        if not self._is_read.is_set():
            self._may_read = False
            _log.warning("the broker does not let this server read what it holds")
            return {}
        await self._client.unsubscribe([pattern, self._topics.status])
        return self._found

    async def read(self) -> None:
        """Take in what comes, until the connection is lost."""
        async for message in self._client.messages:
            topic, value = message.topic.value, message.payload
            if topic == self._topics.status:
                self._is_read.set()
            elif isinstance(value, bytes) and len(self._found) < MAX_FOUND:
                self._found[topic] = value


class BrokerLink:
    """Of one server. `run` as a task.

    Args:
        serve: what is done with each connection; when it returns, the link ends for good.
    """

    def __init__(
        self, settings: MqttSection, topics: MqttTopics, *, clock: Clock, metrics: Metrics
    ) -> None:
        self._settings, self._topics = settings, topics
        self._clock, self._metrics = clock, metrics
        self._backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s)

    async def run(self, serve: Callable[[BrokerSession], Awaitable[None]]) -> None:
        """Connect, serve, and connect again, until `serve` returns."""
        num_failures = 0
        while True:
            began_s = self._clock.now_s()
            try:
                await self._connected(serve, is_news=num_failures > 0)
                return
            except* (aiomqtt.MqttError, OSError, ValueError) as errors:
                why = _first(errors)
            if self._clock.now_s() - began_s > self._settings.backoff_max_s:
                num_failures = 0  # it held for a while: this is another trouble
            num_failures += 1
            self._metrics.mqtt_failures.inc()
            if num_failures == 1:
                _log.warning("the MQTT broker cannot be told anything", extra={"why": str(why)})
            await self._clock.sleep(self._backoff.wait_s(num_failures))

    async def _connected(
        self, serve: Callable[[BrokerSession], Awaitable[None]], *, is_news: bool
    ) -> None:
        settings = self._settings
        assert settings.host is not None
        password = settings.password
        async with aiomqtt.Client(
            settings.host,
            settings.port_used,
            username=settings.user,
            password=None if password is None else password.get_secret_value(),
            identifier=f"onlooker-{digest(self._topics.prefix, self._topics.server)}",
            will=aiomqtt.Will(self._topics.status, OFFLINE, qos=1, retain=True),
            timeout=settings.timeout_s,
            keepalive=settings.keepalive_s,
            tls_context=tls_context(settings),
            max_queued_incoming_messages=MAX_FOUND,
        ) as client:
            session = BrokerSession(client, self._topics, settings.timeout_s)
            self._metrics.mqtt_connected.set(1)
            if is_news:
                _log.info("the MQTT broker is told of everything again")
            try:
                async with asyncio.TaskGroup() as tasks:
                    reading = tasks.create_task(session.read())
                    await session.hold(self._topics.status, ONLINE)
                    await serve(session)
                    with suppress(TimeoutError):
                        work = session.hold(self._topics.status, OFFLINE)
                        await within(self._clock, 1.0, work)
                    reading.cancel()
            finally:
                self._metrics.mqtt_connected.set(0)


def tls_context(settings: MqttSection) -> ssl.SSLContext | None:
    """How the broker's certificate is checked; None without TLS.

    Raises:
        OSError: a file cannot be read as PEM.
    """
    if not settings.tls:
        return None
    context = ssl.create_default_context(cafile=settings.ca)
    if settings.cert is not None:
        context.load_cert_chain(settings.cert, settings.key)
    return context


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
