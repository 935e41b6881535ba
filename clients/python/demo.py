"""`onlooker demo`: the whole product in one terminal.

Starts the server, streams the drawn world to it through the real WebSocket, asks questions whose
truth is known, and prints live answers with a running score.
"""

import asyncio
import signal
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from onlooker.clients.python.answers import Answer
from onlooker.clients.python.child import ServerDied, ServerProcess, free_port
from onlooker.clients.python.client import Client
from onlooker.clients.python.feed import Feed, run_beside
from onlooker.clients.python.progress import Progress
from onlooker.clients.python.quiz import Quiz
from onlooker.clients.python.sources import DrawnSource
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import OnlookerError

STREAM_ID = "demo"
POLL_S = 0.25
FIRST_QUESTION_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What to show, and for how long."""

    seconds: float | None
    """How long to watch once the server is ready; None goes on until Ctrl-C."""
    port: int = 8000
    """The wanted port; if it is in use another one is taken."""
    seed: int = 7
    fps: float = 4.0
    every_s: float = 4.0
    """Seconds between questions."""
    ready_within_s: float = 300.0
    server_arguments: Sequence[str] = ()
    """Arguments that are passed on to `onlooker serve`."""


@dataclass(slots=True)
class QuizScore:
    """How many questions were answered rightly, wrongly or not at all, and how quickly."""

    num_right: int = 0
    num_wrong: int = 0
    num_failed: int = 0
    ttft_ms: list[float] = field(default_factory=list)

    @property
    def num_answered(self) -> int:
        return self.num_right + self.num_wrong

    def __str__(self) -> str:
        return f"{self.num_right} of {self.num_answered} right"


class Demo:
    """One run of the demo; `run` returns its exit status."""

    def __init__(self, plan: DemoPlan, console: Console, clock: Clock | None = None) -> None:
        self._plan = plan
        self._console = console
        self._clock = clock or SystemClock()
        self._is_ready = False
        self.score = QuizScore()

    async def run(self) -> int:
        """Run to the end. Returns 1 if the server died, the demo failed, or nothing was answered
        though nobody stopped it; else 0."""
        port = free_port(self._plan.port)
        if port != self._plan.port:
            self._say(f"Port {self._plan.port} is in use; taking {port} instead.")
        address = f"http://127.0.0.1:{port}"
        arguments = ["--host", "127.0.0.1", "--port", str(port), *self._plan.server_arguments]
        self._say(
            "Starting the server. Loading the model takes a while; it says what it waits for:"
        )
        stopping = asyncio.Event()
        _on_signals(stopping.set)
        server = ServerProcess(arguments, self._show_boot)
        try:
            async with server:
                await self._until_stopped(server, address, stopping)
        except ServerDied as death:
            self._console.print(Text(f"\n{death.message}. Its last words:", style="red"))
            self._console.print(Text("\n".join(f"  {line}" for line in server.last_lines)))
            return 1
        except OnlookerError as error:
            self._console.print(Text(f"\nThe demo failed: {error.message}", style="red"))
            return 1
        return self._conclude(stopped=stopping.is_set())

    async def _until_stopped(
        self, server: ServerProcess, address: str, stopping: asyncio.Event
    ) -> None:
        """Show the demo until its time is over or somebody stops it.

        Raises:
            ServerDied: the server ended by itself.
        """
        show = asyncio.create_task(self._show(address))
        death = asyncio.create_task(server.died())
        stop = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait((show, death, stop), return_when=asyncio.FIRST_COMPLETED)
            if death in done:
                raise death.result()
            if show in done:
                show.result()
        finally:
            for task in (show, death, stop):
                task.cancel()
            await asyncio.gather(show, death, stop, return_exceptions=True)

    async def _show(self, address: str) -> None:
        async with Client(address) as client:
            await self._until_ready(client)
            source = DrawnSource(seed=self._plan.seed, width=640, height=480)
            async with client.stream(STREAM_ID) as stream:
                self._introduce(address, stream)
                feed = Feed(
                    source, stream, self._plan.fps, self._plan.seconds,
                    clock=self._clock, offset_s=0.0,
                )  # fmt: skip
                progress = Progress(self._console, feed)
                with progress.live:
                    await run_beside(feed, asyncio.create_task(self._quiz(feed, progress)))
                self._say(progress.line())

    async def _until_ready(self, client: Client) -> None:
        deadline_s = self._clock.now_s() + self._plan.ready_within_s
        while not await client.ready():
            if self._clock.now_s() > deadline_s:
                raise ServerDied(
                    f"the server was not ready within {self._plan.ready_within_s:.0f} s"
                )
            await self._clock.sleep(POLL_S)
        self._is_ready = True

    # ---- asking ----

    async def _quiz(self, feed: Feed, progress: Progress) -> None:
        assert isinstance(feed.source, DrawnSource)
        quiz = Quiz(feed.source.world, self._plan.seed)
        await self._clock.sleep(FIRST_QUESTION_S)
        while True:
            asked_at_s = self._clock.now_s()
            question = quiz.next(feed.at_s)
            if question is None:  # too much is going on for a clear-cut truth
                await self._clock.sleep(POLL_S)
                continue
            pending = feed.stream.ask_stream(question.text, at_s=feed.at_s, alone=True)
            progress.answering = {pending.ask_id: pending}
            try:
                answer = await pending.result(self._plan.every_s * 5)
            except (OnlookerError, TimeoutError) as error:
                self.score.num_failed += 1
                self._say(f"  no answer: {error or 'it took too long'}", "red")
            else:
                self._mark(answer, quiz.is_right(question, answer.text), question.answer)
            progress.answering = {}
            await self._clock.sleep(asked_at_s + self._plan.every_s - self._clock.now_s())

    def _mark(self, answer: Answer, is_right: bool, truth: str) -> None:
        if is_right:
            self.score.num_right += 1
        else:
            self.score.num_wrong += 1
        facts = answer.facts
        took = "" if facts.ttft_ms is None else f"  {facts.ttft_ms:.0f} ms to the first word"
        if facts.ttft_ms is not None:
            self.score.ttft_ms.append(facts.ttft_ms)
        verdict = ("right", "green") if is_right else (f"wrong, it is: {truth}", "red")
        print_to = self._console.print
        print_to(Text.assemble((f"{facts.asked_s or 0.0:7.1f} s  ", "dim"), answer.question))
        print_to(
            Text.assemble(
                " " * 11,
                (answer.text.strip() or "(nothing)", "bold"),
                "  ",
                verdict,
                (f"  ({self.score}){took}", "dim"),
            )
        )

    # ---- printing ----

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def _show_boot(self, line: str) -> None:
        if not self._is_ready:
            self._say(f"  server: {line}", "dim")

    def _introduce(self, address: str, stream: RemoteStream) -> None:
        assert stream.session is not None
        can = stream.session.capabilities
        self._say(f"\nReady: {stream.session.model} ({can.engine_mode}) knows {can.knows}")
        self._say(f"The page is at {address}/", "bold")
        self._say(f"Ask this stream yourself: {address}/?stream={STREAM_ID}")
        if can.engine_mode == "fake":
            self._say("The engine is scripted: expect wrong answers.", "yellow")
        end = "Ctrl-C ends it." if self._plan.seconds is None else f"For {self._plan.seconds:g} s."
        self._say(f"Streaming the drawn world (seed {self._plan.seed}). {end}\n")

    def _conclude(self, *, stopped: bool) -> int:
        score = self.score
        summary = f"\n{score.num_answered} questions answered, {score}"
        if score.num_failed:
            summary += f", {score.num_failed} without an answer"
        if score.ttft_ms:
            summary += f"; median {statistics.median(score.ttft_ms):.0f} ms to the first word"
        self._say(summary + ".")
        if score.num_answered == 0 and not stopped:
            self._say("Nothing was answered.", "red")
            return 1
        return 0


def _on_signals(stop: Callable[[], None]) -> None:
    """Let Ctrl-C and a polite kill end the demo in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
