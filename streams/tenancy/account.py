"""`Account`: what one tenant has and did on this server, and what it may."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from onlooker.cache_store.tenant_counts import CountsUnreachable
from onlooker.core.clock import Clock
from onlooker.core.errors import LimitReached
from onlooker.core.media import DropReason
from onlooker.core.token_bucket import TokenBucket
from onlooker.scheduler.fleet_share import fleet_share
from onlooker.scheduler.rate_window import RateWindow
from onlooker.streams.tenancy.fleet_link import FleetLink
from onlooker.streams.tenancy.limits import Limit, TenantLimits
from onlooker.streams.tenancy.usage import TenantStanding, TenantTotals, sum_of

MINUTE_S = 60.0

RETRY_S = 5.0
"""When to come again for what is free once something of the tenant's ends."""

FPS_WEIGHT = 0.5
"""Weight of the newest interval in the mean of frames a second."""


class Account:
    """One tenant. All on the event loop; nothing here waits for Redis when a frame comes.

    Args:
        link: what is counted together with other servers; None where there are none.
    """

    def __init__(
        self, tenant: str, limits: TenantLimits, *, clock: Clock, link: FleetLink | None
    ) -> None:
        self.tenant, self.limits = tenant, limits
        self.totals = TenantTotals()
        self.refused: Counter[Limit] = Counter()
        """Streams, frames, questions and watches that were refused, by the limit."""
        self.remembered: dict[str, int] = {}
        """Bytes that are remembered, by stream."""
        self._clock, self._link = clock, link
        self._streams: dict[str, Callable[[], Collection[str]]] = {}
        """What tells the watches of each open stream, by the stream's name."""
        self._questions = RateWindow(MINUTE_S)
        self._frames: TokenBucket | None = None
        self._num_offered = 0
        self._fps = 0.0
        self._share_per_s = limits.max_fps or 0.0
        """The share of `max_fps` that was last reckoned."""
        self._measured_at_s = clock.now_s()
        self._is_memory_full = False
        if limits.max_fps is not None:
            self._frames = TokenBucket(
                rate_per_s=limits.max_fps, burst=max(1.0, limits.max_fps), clock=clock
            )
            self._share_frames()

    # ---- what it has

    async def open_stream(self, name: str) -> None:
        """Count a stream as open, until `close_stream`.

        Raises:
            LimitReached: the tenant has as many as it may.
        """
        await self._enter(Limit.STREAMS, name, lambda: self._streams.keys() - {name})
        self._streams[name] = tuple

    def serve(self, name: str, watches: Callable[[], Collection[str]]) -> None:
        """Take note of what tells the watches of an open stream, by their ids."""
        self._streams[name] = watches

    async def close_stream(self, name: str, *, goes_on: bool = False) -> None:
        """Count a stream and its watches no more. `goes_on`: elsewhere, where it is counted by
        whoever has it next."""
        if name not in self._streams:
            return
        watches = self._streams.pop(name)()
        self.remembered.pop(name, None)
        if not goes_on:
            await self._leave(Limit.STREAMS, [name])
            await self._leave(Limit.WATCHES, _names(name, watches))

    @asynccontextmanager
    async def making_watch(self, stream: str, watch_id: str) -> AsyncIterator[None]:
        """Count a watch that is made while the block runs; not where that fails.

        Raises:
            LimitReached: the tenant has as many as it may.
        """
        if watch_id in self._streams.get(stream, tuple)():
            yield  # and is refused for that
            return
        (name,) = _names(stream, [watch_id])
        await self._enter(Limit.WATCHES, name, self._watches)
        try:
            yield
        except BaseException:
            await self.drop_watch(stream, watch_id)
            raise

    async def drop_watch(self, stream: str, watch_id: str) -> None:
        """Count a watch no more."""
        await self._leave(Limit.WATCHES, _names(stream, [watch_id]))

    def standing(self) -> TenantStanding:
        """What it has on this server."""
        return TenantStanding(
            len(self._streams), len(self._watches()), self._fps, sum(self.remembered.values())
        )

    def held(self) -> dict[tuple[str, str], Sequence[str]]:
        """What is to be counted on all servers together, by tenant and kind."""
        held = {
            Limit.STREAMS: list(self._streams),
            Limit.WATCHES: self._watches(),
        }
        return {
            (self.tenant, kind.value): names
            for kind, names in held.items()
            if names and self.limits.of(kind) is not None
        }

    # ---- what it does

    def check_frame(self, *, waits: bool) -> DropReason | None:
        """Count a frame message that came in; returns why it is not taken, if it is not. `waits`:
        whether it waits for its turn instead of being dropped for it (`frame_wait_s`)."""
        self._num_offered += 1
        if self._is_memory_full:
            self.refused[Limit.MEMORY] += 1
            return DropReason.TENANT_MEMORY
        if self._frames is not None and not waits and not self._frames.try_take():
            self.refused[Limit.FPS] += 1
            return DropReason.TENANT_FPS
        return None

    def frame_wait_s(self) -> float:
        """Take a turn for a frame that is not dropped; returns the seconds until it has come."""
        return 0.0 if self._frames is None else self._frames.take()

    def refusal(self, reason: DropReason) -> LimitReached:
        """What is told of a frame that was dropped for one of the tenant's limits."""
        if reason is DropReason.TENANT_FPS:
            return self._reached(Limit.FPS, 1.0, "send fewer frames")
        return self._reached(
            Limit.MEMORY, RETRY_S, "delete some of it, or have less kept (keep_for_s)"
        )

    async def ask(self) -> None:
        """Count a question.

        Raises:
            LimitReached: the tenant has asked as many in the last minute as it may.
        """
        limit = self.limits.max_questions_per_minute
        if limit is not None:
            wait_s = await self._question_wait_s(limit)
            if wait_s > 0:
                self.refused[Limit.QUESTIONS] += 1
                raise self._reached(Limit.QUESTIONS, wait_s, "ask again later")
            self._questions.note(self._clock.now_s())
        self.totals.questions += 1

    def note_answer(self, num_prompt: int, num_cached: int, num_output: int) -> None:
        """Count the tokens of an answer."""
        self.totals.input_tokens += num_prompt
        self.totals.cached_tokens += num_cached
        self.totals.output_tokens += num_output

    # ---- now and then

    def measure(self) -> None:
        """Take the mean of frames a second up to now. What the others are told is what was measured
        at the last call, which is what shares are taken by."""
        now_s = self._clock.now_s()
        if (passed_s := now_s - self._measured_at_s) <= 0:
            return
        self._measured_at_s = now_s
        rate = self._num_offered / passed_s
        self._num_offered = 0
        self._fps += FPS_WEIGHT * (rate - self._fps)

    def take_shares(self) -> None:
        """Go by what was just heard of the other servers."""
        self._share_frames()
        limit = self.limits.max_memory_bytes
        if limit is not None:
            own = sum(self.remembered.values())
            others = sum_of(self._link.others(self.tenant)) if self._link else TenantStanding()
            self._is_memory_full = own + others.memory_bytes >= limit

    # ---- inside

    def _share_frames(self) -> None:
        limit, link = self.limits.max_fps, self._link
        if limit is None or self._frames is None:
            return
        share = limit
        if link is not None:
            others = [other.fps for other in link.others(self.tenant)]
            if link.is_reached:
                share = fleet_share(limit, self._fps, others)
            else:
                share = limit / len(link.servers)
        # What another server is to give up it does not give up before it hears of it, which is
        # within a round: a share falls at once, and rises a round later.
        taken, self._share_per_s = min(share, self._share_per_s), share
        self._frames.adjust(rate_per_s=taken, burst=max(1.0, taken))

    async def _question_wait_s(self, limit: int) -> float:
        link = self._link
        if link is not None and link.is_reached:
            try:
                return await link.counts.ask(self.tenant, limit=limit, span_s=MINUTE_S)
            except CountsUnreachable as error:
                link.lose(error)
        own = limit if link is None else link.part(limit)
        return self._questions.wait_s(own, self._clock.now_s())

    async def _enter(self, kind: Limit, name: str, own: Callable[[], Collection[str]]) -> None:
        most, link = self.limits.of(kind), self._link
        if most is None:
            return
        limit = int(most)
        if link is not None and link.is_reached:
            try:
                if await link.counts.enter(self.tenant, kind.value, name, limit):
                    return
                raise self._full(kind)
            except CountsUnreachable as error:
                link.lose(error)
        if len(own()) >= (limit if link is None else link.part(limit)):
            raise self._full(kind)

    async def _leave(self, kind: Limit, names: Sequence[str]) -> None:
        link = self._link
        if link is None or not link.is_reached or not names or self.limits.of(kind) is None:
            return
        try:
            await link.counts.leave(self.tenant, kind.value, names)
        except CountsUnreachable as error:
            link.lose(error)

    def _full(self, kind: Limit) -> LimitReached:
        self.refused[kind] += 1
        hint = "close one" if kind is Limit.STREAMS else "delete one"
        return self._reached(kind, RETRY_S, f"{hint} or try again later")

    def _reached(self, limit: Limit, retry_after_s: float, hint: str) -> LimitReached:
        most = self.limits.of(limit)
        words = {
            Limit.STREAMS: f"has its {most} streams open",
            Limit.FPS: f"sends more than its {most:g} frames a second",
            Limit.QUESTIONS: f"has asked its {most} questions of this minute",
            Limit.MEMORY: f"has its {most} bytes stored",
            Limit.WATCHES: f"has its {most} watches",
        }
        counted = "all servers counted"
        if self._link is not None and not self._link.is_reached:
            counted = "of which this server gives out its part only while Redis does not answer"
        return LimitReached(
            f"tenant '{self.tenant}' {words[limit]}, {counted} (setting "
            f"tenants.limits.{limit.setting}): {hint}",
            limit=limit.value,
            retry_after_s=retry_after_s,
        )

    def _watches(self) -> list[str]:
        return [
            name for stream, watches in self._streams.items() for name in _names(stream, watches())
        ]


def _names(stream: str, watch_ids: Collection[str]) -> list[str]:
    return [f"{stream}/{watch_id}" for watch_id in watch_ids]
