"""`FedStream`: a live stream of which it is known what was shown, acknowledged and alerted."""

import asyncio
import itertools
from collections import Counter, deque
from contextlib import suppress

from onlooker.benchmarks.fleet.colour_show import ColourShow
from onlooker.clients.python.client import Client
from onlooker.clients.python.events import Connected, Disconnected
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.guarantee import Guarantee
from onlooker.core.protocol.server_events import StreamAlert, VideoAck

PERIOD_S = 2
"""Between two pictures, in whole seconds, so that a second names one picture."""

ALERT_COLOUR = "red"


class FedStream:
    """`run` as a task: it shows one colour after another until it is cancelled.

    Args:
        number: which colour comes first.
        show: what is shown.
        is_watched: whether a watch is left that speaks whenever `ALERT_COLOUR` appears.
    """

    def __init__(
        self,
        name: str,
        number: int,
        *,
        client: Client,
        show: ColourShow,
        clock: Clock,
        is_watched: bool,
    ) -> None:
        self.name, self._number = name, number
        self._client, self._show, self._clock = client, show, clock
        self._is_watched = is_watched
        self._colours = list(show.pictures)
        self._sent: dict[int, int] = {}
        self.acknowledged: dict[int, Guarantee | None] = {}
        """Seconds whose picture was acknowledged as kept, with what it survives."""
        self.alerts: Counter[int] = Counter()
        """How often each second was alerted."""
        self.watched_from: int | None = None
        """The first second that the watch can have seen."""
        self.failure: OnlookerError | None = None
        self._lost_at_s: float | None = None
        self._away: list[tuple[float, float]] = []
        self.reasons: deque[str] = deque(maxlen=4)
        """Why its last attempts to connect failed, when it was away last."""

    def away_s(self, since_s: float) -> float:
        """For how long at most the camera was without a connection, once it had one, of all times
        that it lost its connection after `since_s`; 0 where it did not."""
        spans = list(self._away)
        if self._lost_at_s is not None:
            spans.append((self._lost_at_s, self._clock.now_s()))
        return max((until - lost for lost, until in spans if lost >= since_s), default=0.0)

    def colour(self, second: int) -> str:
        """What was shown then."""
        return self._colours[(self._number + second // PERIOD_S) % len(self._colours)]

    async def run(self) -> None:
        """Show pictures and listen."""
        try:
            async with self._client.stream(self.name) as stream:
                listening = asyncio.create_task(self._listen(stream))
                try:
                    await self._feed(stream)
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
        except OnlookerError as error:
            self.failure = error

    async def _feed(self, stream: RemoteStream) -> None:
        began_s = self._clock.now_s()
        for turn in itertools.count():
            second = turn * PERIOD_S
            sequence = await stream.send_frame(
                self._show.pictures[self.colour(second)], at_s=float(second)
            )
            self._sent[sequence] = second
            if self._is_watched and self.watched_from is None:
                with suppress(OnlookerError, TimeoutError):
                    await stream.alert_when(self._show.condition, cooldown_s=0)
                    self.watched_from = second + PERIOD_S
            due_s = began_s + (turn + 1) * PERIOD_S
            await self._clock.sleep(max(0.0, due_s - self._clock.now_s()))

    async def _listen(self, stream: RemoteStream) -> None:
        async for event in stream.events():
            if isinstance(event, VideoAck):
                for sequence in event.kept:
                    if (second := self._sent.get(sequence)) is not None:
                        self.acknowledged[second] = event.guarantee
            elif isinstance(event, Disconnected):
                if self._lost_at_s is None:
                    self._lost_at_s = self._clock.now_s()
                    self.reasons.clear()
                self.reasons.append(event.reason)
            elif isinstance(event, Connected) and self._lost_at_s is not None:
                self._away.append((self._lost_at_s, self._clock.now_s()))
                self._lost_at_s = None
            elif isinstance(event, StreamAlert):
                start_s = event.alert.evidence.start_s
                self.alerts[round(start_s / PERIOD_S) * PERIOD_S] += 1

    def is_promised(self, second: int) -> bool:
        """Whether the picture of this second was acknowledged as surviving something."""
        return self.acknowledged.get(second) not in (None, Guarantee.NONE)

    def alerts_missed(self, until: int) -> list[int]:
        """Acknowledged seconds before `until` of which an alert should have told and none did. Of
        those that are not `is_promised` none was promised either: a picture that is lost is looked
        at by nobody."""
        first = self.watched_from
        if first is None:
            return []
        return [
            second
            for second in self.acknowledged
            if first <= second < until
            and self.colour(second) == ALERT_COLOUR
            and not self.alerts[second]
        ]

    def alerts_doubled(self) -> int:
        """Alerts that came more than once."""
        return sum(count - 1 for count in self.alerts.values() if count > 1)
