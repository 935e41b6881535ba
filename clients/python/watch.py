"""`onlooker watch`: streams a source, asks, prints answers and alerts as they come."""

import asyncio
import json
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from onlooker.clients.python.answers import Answer
from onlooker.clients.python.client import Client
from onlooker.clients.python.events import Connected, Disconnected, EventLine, Problem
from onlooker.clients.python.feed import Feed, run_beside
from onlooker.clients.python.progress import Progress
from onlooker.clients.python.sources import DrawnSource, Source
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import InvalidRequest, OnlookerError
from onlooker.core.protocol.server_events import StreamAlert
from onlooker.core.protocol.stream_objects import MaskConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """What to do while watching."""

    questions: tuple[str, ...]
    alerts: tuple[str, ...] = ()
    """Conditions in words; the model alerts when one of them is met."""
    comments: bool = False
    """Whether to print what the model says by itself about what changes."""
    every_s: float
    """Seconds between rounds of questions; 0 asks once, when the source has ended."""
    fps: float
    duration_s: float | None
    stream_id: str | None
    masks: tuple[MaskConfig, ...] | None = None
    """Parts of the pictures that the server is to black out or blur; None: as the stream has it."""
    truth: bool = False
    """Whether to print beside each answer what the drawn world really showed."""
    as_json: bool = False


class WatchCommand:
    """One run of `onlooker watch`. It prints text for people, or one JSON object a line."""

    def __init__(
        self,
        client: Client,
        source: Source,
        plan: WatchPlan,
        console: Console,
        clock: Clock | None = None,
    ) -> None:
        if plan.truth and not isinstance(source, DrawnSource):
            raise InvalidRequest("--truth needs a demo:// source: only there the truth is known")
        self._client, self._source, self._plan = client, source, plan
        self._console = console
        self._clock = clock or SystemClock()
        self.num_answered = 0
        self.num_alerts = 0
        self.num_failed = 0

    async def run(self) -> None:
        """Watch until the source ends, the duration is over, or the task is cancelled.

        Raises:
            OnlookerError: no server, a source that cannot be read, or one that broke off.
        """
        resumed_at_s = 0.0
        if self._plan.stream_id is not None:
            resumed_at_s = await self._client.seen_until_s(self._plan.stream_id)
        stream = self._client.stream(
            self._plan.stream_id, masks=self._plan.masks, resumed_at_s=resumed_at_s
        )
        async with self._source, stream:
            feed = Feed(
                self._source, stream, self._plan.fps, self._plan.duration_s, clock=self._clock
            )
            progress = Progress(self._console, feed)
            self._introduce(stream)
            await self._leave_watches(stream)
            try:
                with progress.live:
                    await self._watch(feed, stream, progress)
            finally:
                self._conclude(progress)

    async def _watch(self, feed: Feed, stream: RemoteStream, progress: Progress) -> None:
        await run_beside(
            feed,
            asyncio.create_task(self._listen(stream.events(), progress)),
            asyncio.create_task(self._ask_rounds(feed, progress)),
        )
        if self._plan.every_s == 0:
            await self._ask_all(feed, progress)

    # ---- watches ----

    async def _leave_watches(self, stream: RemoteStream) -> None:
        for condition in self._plan.alerts:
            watch = await stream.alert_when(condition)
            self._note("watch", f"{condition}: the model is asked '{watch.asks}'")
        if self._plan.comments:
            await stream.watches.create(instruction="")

    def _print_alert(self, event: StreamAlert) -> None:
        alert = event.alert
        self.num_alerts += 1
        if self._plan.as_json:
            self._print_json(type="alert", **alert.model_dump(exclude={"object", "frame"}))
            return
        when = f"{alert.evidence.end_s:7.1f} s  "
        sure = "" if alert.confidence is None else f"  ({alert.confidence:.0%})"
        style = "bold green" if alert.kind == "alert" else ""
        late = f"  {alert.staleness_s:.1f} s ago"
        text = alert.text or alert.problem or ""
        parts = ((when, "dim"), ("! " if alert.kind == "alert" else "  ", style), (text, style))
        self._console.print(Text.assemble(*parts, (sure + late, "dim")))

    # ---- asking ----

    async def _ask_rounds(self, feed: Feed, progress: Progress) -> None:
        if self._plan.every_s == 0 or not self._plan.questions:
            return
        while True:
            await self._clock.sleep(self._plan.every_s)
            await self._ask_all(feed, progress)

    async def _ask_all(self, feed: Feed, progress: Progress) -> None:
        await asyncio.gather(*(self._ask(q, feed, progress) for q in self._plan.questions))

    async def _ask(self, question: str, feed: Feed, progress: Progress) -> None:
        try:
            pending = feed.stream.ask_stream(question, alone=True)
            progress.answering[pending.ask_id] = pending
            try:
                answer = await pending.result(self._client.options.answer_timeout_s)
            finally:
                del progress.answering[pending.ask_id]
        except (OnlookerError, TimeoutError) as error:
            self.num_failed += 1
            self._print_failure(question, error)
        else:
            self.num_answered += 1
            self._print_answer(answer, feed)

    # ---- printing ----

    def _introduce(self, stream: RemoteStream) -> None:
        assert stream.session is not None
        if self._plan.as_json:
            self._print_json(
                type="watching",
                source=self._source.name,
                stream=stream.id,
                model=stream.session.model,
            )
            return
        self._console.print(
            f"Watching {self._source.name} as stream '{stream.id}' with {stream.session.model}, "
            f"which knows {stream.session.capabilities.knows}",
            highlight=False,
            markup=False,
        )

    async def _listen(self, events: EventLine, progress: Progress) -> None:
        async for event in events:
            progress.take(event)
            if isinstance(event, StreamAlert):
                self._print_alert(event)
            elif isinstance(event, Problem):
                self._note("problem", event.error.message)
            elif isinstance(event, Disconnected):
                self._note("disconnected", event.reason)
            elif isinstance(event, Connected):
                self._note("connected", "connected again")

    def _note(self, kind: str, message: str) -> None:
        if self._plan.as_json:
            self._print_json(type=kind, message=message)
        else:
            self._console.print(f"  {message}", style="yellow", highlight=False, markup=False)

    def _print_answer(self, answer: Answer, feed: Feed) -> None:
        facts = answer.facts
        truth = self._truth_at(facts.asked_s, feed)
        if self._plan.as_json:
            self._print_json(
                type="answer",
                question=answer.question,
                answer=answer.text,
                status=answer.status,
                asked_s=facts.asked_s,
                seen_until_s=facts.seen_until_s,
                ttft_ms=facts.ttft_ms,
                truth=truth,
            )
            return
        when = "" if facts.asked_s is None else f"{facts.asked_s:7.1f} s  "
        self._console.print(Text.assemble((when, "dim"), (answer.question, "bold")))
        text = answer.text.strip() or "(nothing)"
        cut = "" if answer.status == "completed" else f"  [{answer.status}]"
        self._console.print(Text(" " * len(when) + text + cut))
        if truth is not None:
            self._console.print(Text(" " * len(when) + f"really: {truth}", style="dim"))

    def _print_failure(self, question: str, error: BaseException) -> None:
        message = str(error) or "no answer in time"
        if self._plan.as_json:
            self._print_json(type="failed", question=question, message=message)
        else:
            self._console.print(Text(f"{question}\n  no answer: {message}", style="red"))

    def _truth_at(self, asked_s: float | None, feed: Feed) -> str | None:
        if not self._plan.truth or asked_s is None:
            return None
        assert isinstance(self._source, DrawnSource)
        return self._source.truth(max(0.0, asked_s - feed.offset_s))

    def _conclude(self, progress: Progress) -> None:
        if self._plan.as_json:
            self._print_json(
                type="ended", answered=self.num_answered, failed=self.num_failed,
                alerts=self.num_alerts,
                summary=progress.line(),
            )  # fmt: skip
        else:
            self._console.print(Text(progress.line(), style="dim"))

    def _print_json(self, **fields: object) -> None:
        self._console.out(json.dumps(fields, ensure_ascii=False), highlight=False)
