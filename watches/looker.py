"""`Looker`: one watch at work. It asks the trigger clip by clip, and finds the words of alerts."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from onlooker.core.media import Clip
from onlooker.watches.alert import Statement, Words
from onlooker.watches.reply import asking_for_json, read_reply
from onlooker.watches.score import ForkScore, SharedClip
from onlooker.watches.service import WatchService
from onlooker.watches.triggers.interface import CheckLost, Decision, Defer, Silent, Speak
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")

RaiseAlert = Callable[[Watch, Clip, Statement], None]


class Looker:
    """Runs one watch, from `start` to `stop`. Belongs to the keeper of the watch's stream."""

    def __init__(
        self,
        watch: Watch,
        *,
        service: WatchService,
        is_live: bool,
        raise_alert: RaiseAlert,
        tell_ended: Callable[[Watch], None],
        note_turned: Callable[[], None],
    ) -> None:
        """`tell_ended` is called when the watch has ended by itself; `note_turned` when what it
        spoke of is not there any more."""
        self.watch = watch
        self._service, self._is_live = service, is_live
        self._raise, self._tell_ended = raise_alert, tell_ended
        self._note_turned = note_turned
        self._clips: deque[SharedClip] = deque()
        self._arrival = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._replies: set[asyncio.Task[None]] = set()
        self._last_reply: asyncio.Task[None] | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Begin to look at the clips that are taken."""
        self._task = asyncio.create_task(self._run(), name=f"watch {self.watch.watch_id}")

    def take(self, shared: SharedClip) -> None:
        """Look at this clip after those that wait. If too many wait, the oldest is passed over."""
        self._clips.append(shared)
        if len(self._clips) > self._service.settings.backlog_clips:
            self.watch.trigger.passed_over(self._clips.popleft().clip)
            self.watch.counts.passed_over += 1
            self._service.count_checks("passed_over")
        self._arrival.set()

    async def look(self, shared: SharedClip) -> None:
        """Look at one clip; on the virtual clock, until what is to be said has been written."""
        async with self._turn:
            await self._look(shared)

    def stop(self) -> "list[asyncio.Task[None]]":
        """Break off looking and what is being written; returns the tasks that now end."""
        self._is_stopped = True
        self._clips.clear()
        tasks = [*self._replies] if self._task is None else [self._task, *self._replies]
        for task in tasks:
            task.cancel()
        return tasks

    async def _run(self) -> None:
        """Look at the clips that were taken, one after another. A fault of ours ends the watch."""
        try:
            while True:
                while not self._clips:
                    self._arrival.clear()
                    await self._arrival.wait()
                await self.look(self._clips.popleft())
        except Exception:
            _log.exception("a watch failed")
            self.watch.why_ended = "internal error"
            self._tell_ended(self.watch)

    async def _look(self, shared: SharedClip) -> None:
        if self.watch.state != "active":
            return
        score = ForkScore(shared, self.watch.prompts)
        decision: Decision
        try:
            decision = await self.watch.trigger.on_clip(shared.clip, shared.signals, score)
        except CheckLost as error:
            decision = Defer(str(error))
        self.watch.note(decision)
        if self.watch.is_told and not self.watch.trigger.is_on:
            self.watch.is_told = False
            self._note_turned()
        if isinstance(decision, Silent) and decision.why is not None:
            self._service.count_checks(decision.why)
        if not isinstance(decision, Speak):
            return
        if not self.watch.may_alert(shared.clip):
            self._service.count_alert("held_back")
            return
        self.watch.num_speaking += 1
        saying = self._say(score, decision, self._service.clock.wall_s(), self._previous())
        reply = self._last_reply = asyncio.create_task(saying)
        self._replies.add(reply)
        reply.add_done_callback(self._forget)
        if not self._is_live or self.watch.compares_replies:
            await asyncio.wait([reply])

    def _previous(self) -> "asyncio.Task[None] | None":
        """The reply that is being written, broken off if a newer one takes its place."""
        previous = self._last_reply
        if previous is not None and not previous.done() and self.watch.options.supersedes:
            previous.cancel()
        return previous

    async def _say(
        self,
        score: ForkScore,
        decision: Speak,
        decided_wall_s: float,
        previous: "asyncio.Task[None] | None",
    ) -> None:
        """Find the words and raise the alert, after the `previous` one of this watch."""
        watch = self.watch
        try:
            words = await self._wanted_words(score, decision, previous)
        finally:
            watch.num_speaking -= 1
        if words is None:
            return
        watch.is_told = watch.trigger.is_on
        statement = Statement(words, decision.confidence, decided_wall_s)
        self._raise(watch, score.shared.clip, statement)
        if watch.why_ended is not None:
            self._tell_ended(watch)
        if words.text and watch.compares_replies:
            try:
                await watch.trigger.spoke(words.text, score)
            except CheckLost:
                return

    async def _wanted_words(
        self, score: ForkScore, decision: Speak, previous: "asyncio.Task[None] | None"
    ) -> Words | None:
        """What to say after the `previous` alert; None where nothing is to be said after all."""
        try:
            words = await self._words(score, decision)
        except asyncio.CancelledError:
            if self._is_stopped:
                raise
            self._service.count_alert("superseded")
            return None
        if previous is not None and not previous.done():
            await asyncio.wait([previous])
        if not words.text and words.data is None and self.watch.options.kind == "commentary":
            self._service.count_alert("silent")
            return None
        return words

    async def _words(self, score: ForkScore, decision: Speak) -> Words:
        """What the trigger has found out, the reply to the watch's prompt, or the condition; with a
        schema, beside a reply as JSON."""
        options, prompt = self.watch.options, self.watch.prompts.reply
        schema = options.json_schema
        bare = decision.text if decision.text is not None else options.condition or ""
        if schema is not None:
            asked = options.question or prompt or bare
            score = score.asking(asking_for_json(asked, schema), schema)
        elif prompt is None or decision.text is not None:
            return Words(bare)
        try:
            text = (await score.reply()).strip()
        except CheckLost as error:
            return Words(bare, problem=f"its text could not be written: {error}")
        if schema is None:
            is_piece = options.kind == "commentary"
            return Words("" if is_piece and self._service.model.wording.is_pause(text) else text)
        return await self._service.in_pool(partial(read_reply, text, schema, bare=bare))

    def _forget(self, reply: "asyncio.Task[None]") -> None:
        self._replies.discard(reply)
        if not reply.cancelled() and (error := reply.exception()) is not None:
            _log.error("a watch could not speak", exc_info=error)
