"""`Ledger`: streams of which it is known what was acknowledged and what was answered.

A stream here has the virtual clock and shows nothing new once it is fed, so the same question gets
the same answer for as long as what was remembered is there, whatever happened in between.
"""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from onlooker.clients.python.client import Client
from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.guarantee import Guarantee

NUM_CLIPS = 8
NUM_STREAMS = 4
"""With one more the oldest is deleted."""
MAX_TOLD = 50
"""Wrong answers and lost clips that are told in full."""
TRIES, WAIT_S = 30, 2.0
"""How often, and after how long each time, something is asked again that was refused."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What was answered about one second."""

    text: str
    spans_s: tuple[tuple[float, float], ...]
    """The spans of time that it rests on."""
    is_incomplete: bool

    def shows(self, second: int) -> bool:
        """Whether it rests on the clip of that second."""
        return any(start_s <= second < end_s for start_s, end_s in self.spans_s)


@dataclass(slots=True)
class KnownStream:
    """One stream: what each of its clips was promised to survive, and what was answered about
    it."""

    name: str
    promised: dict[int, Guarantee] = field(default_factory=dict)
    answers: dict[int, KnownAnswer] = field(default_factory=dict)


class Ledger:
    """Feeds streams, and asks about them again and again."""

    def __init__(
        self, client: Client, pictures: Sequence[bytes], clock: Clock, rng: random.Random
    ) -> None:
        """`pictures`: two for each clip of a stream, half a second apart."""
        self._client, self._pictures, self._clock, self._rng = client, pictures, clock, rng
        self._streams: list[KnownStream] = []
        self._numbers = count()
        self.counts: Counter[str] = Counter()
        """Clips that were ``acknowledged`` and ``lost``; answers that were ``right``, ``wrong``,
        rested on ``other`` clips than the first time, said to be ``incomplete``, or ``refused``."""
        self.told: list[str] = []
        """What went wrong, in words."""

    async def grow(self) -> None:
        """Make one more stream, and ask about each of its clips for the first time."""
        stream = KnownStream(f"ledger-{next(self._numbers)}")
        with suppress(OnlookerError):
            await self._feed(stream)
        for second in stream.promised:
            found = await self._asked(stream.name, second, tries=TRIES)
            if found is not None and found.shows(second):
                stream.answers[second] = found
            else:
                self._tell(f"{stream.name}: second {second} was not shown from the first")
        self._streams.append(stream)
        while len(self._streams) > NUM_STREAMS:
            with suppress(OnlookerError):
                await self._client.close_stream(self._streams.pop(0).name)

    async def check(self) -> None:
        """Ask about one clip of one stream, whatever is going on; a refusal is no fault."""
        if self._streams:
            stream = self._rng.choice(self._streams)
            if stream.answers:
                second = self._rng.choice(list(stream.answers))
                await self._judge(stream, second, is_settled=False)

    async def audit(self) -> None:
        """Ask about all clips of all streams, now that all is said to be well: what was promised
        and is not there is lost."""
        for stream in self._streams:
            for second in stream.answers:
                await self._judge(stream, second, is_settled=True)

    async def _judge(self, stream: KnownStream, second: int, *, is_settled: bool) -> None:
        found = await self._asked(stream.name, second, tries=TRIES if is_settled else 1)
        before = stream.answers[second]
        if found is None:
            self.counts["refused"] += 1
            if is_settled:
                self._tell(f"{stream.name}: second {second} cannot be asked about")
        elif not found.shows(second):
            self.counts["incomplete" if found.is_incomplete else "wrong"] += 1
            if not found.is_incomplete:
                self._tell(
                    f"{stream.name}: second {second} was left out without a word: {found.spans_s} "
                    f"and {found.text!r}, before {before.spans_s} and {before.text!r}"
                )
            if is_settled and stream.promised[second] is not Guarantee.NONE:
                self.counts["lost"] += 1
                self._tell(f"{stream.name}: second {second} was promised and is lost")
        elif found.spans_s != before.spans_s:
            self.counts["other"] += 1
        elif found.text != before.text:
            self.counts["wrong"] += 1
            self._tell(f"{stream.name}: second {second}: {found.text!r}, before {before.text!r}")
        else:
            self.counts["right"] += 1

    def _tell(self, line: str) -> None:
        if len(self.told) < MAX_TOLD:
            self.told.append(line)

    async def _feed(self, stream: KnownStream) -> None:
        await self._client.create_stream(stream.name, clock="virtual", gate_threshold=0.0)
        for index in range(NUM_CLIPS):
            told = [
                await self._client.push_frame(
                    stream.name, self._pictures[2 * index + half], at_s=index + 0.5 * half
                )
                for half in (0, 1)
            ]
            if all(one.outcome == "kept" and one.guarantee is not None for one in told):
                stream.promised[index] = told[-1].guarantee or Guarantee.NONE
                self.counts["acknowledged"] += 1

    async def _asked(self, name: str, second: int, *, tries: int) -> KnownAnswer | None:
        for _ in range(tries):
            try:
                reply = await self._client.ask(
                    name, f"What was there at {second} seconds?", max_output_tokens=8
                )
            except (OnlookerError, TimeoutError):
                await self._clock.sleep(WAIT_S)
                continue
            facts = reply.onlooker
            return KnownAnswer(reply.answer, tuple(facts.clip_spans_s), facts.memory_incomplete)
        return None
