"""`Looker`: one watch at work. Clip by clip it asks its trigger, and says what is to be said."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.watches.schema import misfit
from onlooker.watches.score import CheckRunner, ForkScore, SharedClip
from onlooker.watches.triggers.interface import CheckLost, Decision, Defer, Silent, Speak
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")

RaiseAlert = Callable[[Watch, Clip, dict[str, Any]], None]

WAIT_FOR_REPLY = {"drift"}
"""Triggers that compare the next clip with what was said about the last one."""


class Looker:
    """Runs one watch; `run` ends by cancellation or with a failure that is not the clip's."""

    def __init__(
        self,
        watch: Watch,
        *,
        runner: CheckRunner,
        metrics: Metrics,
        clock: Clock,
        is_live: bool,
        raise_alert: RaiseAlert,
        note_ended: Callable[[], None],
    ) -> None:
        self._watch, self._runner, self._metrics = watch, runner, metrics
        self._clock, self._is_live = clock, is_live
        self._raise, self._note_ended = raise_alert, note_ended
        self._clips: deque[SharedClip] = deque()
        self._arrival = asyncio.Event()
        self._replies: set[asyncio.Task[None]] = set()
        self._last_reply: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._stopped = False

    def take(self, shared: SharedClip) -> None:
        """Look at this clip next; live, the oldest that waits makes room for it."""
        self._clips.append(shared)
        if self._is_live and len(self._clips) > self._runner.settings.backlog_clips:
            self._watch.trigger.passed_over(self._clips.popleft().clip)
            self._watch.counts.passed_over += 1
            self._metrics.checks.labels(outcome="passed_over").inc()
        self._arrival.set()

    def stop(self) -> None:
        """Break off what is being written."""
        self._stopped = True
        for reply in self._replies:
            reply.cancel()
        self._clips.clear()

    async def run(self) -> None:
        """Look at the clips that were taken, one after another. A fault of ours ends the watch."""
        try:
            while True:
                while not self._clips:
                    self._arrival.clear()
                    await self._arrival.wait()
                await self.look(self._clips.popleft())
        except Exception:
            _log.exception("a watch failed")
            self._watch.why_ended = "internal error"
            self._note_ended()

    async def look(self, shared: SharedClip) -> None:
        """Look at one clip; on the virtual clock, until what is to be said has been written."""
        async with self._turn:
            await self._look(shared)

    async def _look(self, shared: SharedClip) -> None:
        watch, clip = self._watch, shared.clip
        if watch.state != "active":
            return
        score = ForkScore(
            self._runner, shared, watch.prompts, self._is_live, self._runner.settings.max_tokens
        )
        decision = await self._decide(shared, score)
        watch.counts.clips += 1
        if isinstance(decision, Defer):
            watch.counts.deferred += 1
            return
        if isinstance(decision, Silent) and decision.why is not None:
            self._metrics.checks.labels(outcome=decision.why).inc()
        if isinstance(decision, Speak) or decision.confidence is not None:
            watch.last_confidence = decision.confidence
        if not isinstance(decision, Speak):
            return
        if not watch.may_alert(clip):
            self._metrics.alerts.labels(outcome="held_back").inc()
            return
        reply = asyncio.create_task(
            self._say(shared, score, decision, self._clock.wall_s(), self._previous())
        )
        self._replies.add(reply)
        self._last_reply = reply
        reply.add_done_callback(self._forget)
        if not self._is_live or set(watch.trigger_names) & WAIT_FOR_REPLY:
            await asyncio.wait([reply])

    async def _decide(self, shared: SharedClip, score: ForkScore) -> Decision:
        try:
            return await self._watch.trigger.on_clip(shared.clip, shared.signals, score)
        except CheckLost as error:
            return Defer(str(error))

    def _previous(self) -> "asyncio.Task[None] | None":
        """The reply that is being written, broken off if a newer one takes its place."""
        previous = self._last_reply
        if previous is not None and not previous.done() and self._watch.options.supersedes:
            previous.cancel()
        return previous

    async def _say(
        self,
        shared: SharedClip,
        score: ForkScore,
        decision: Speak,
        decided_wall_s: float,
        previous: "asyncio.Task[None] | None",
    ) -> None:
        """Find the words and raise the alert; alerts of one watch keep their order."""
        said: dict[str, Any] = {"confidence": decision.confidence, "decided_wall_s": decided_wall_s}
        try:
            said |= await self._words(score, decision)
        except asyncio.CancelledError:
            if self._stopped:
                raise
            self._metrics.alerts.labels(outcome="superseded").inc()
            return
        if previous is not None and not previous.done():
            await asyncio.wait([previous])
        text = said["text"]
        if not text and said.get("data") is None and self._watch.options.kind == "commentary":
            self._metrics.alerts.labels(outcome="silent").inc()
            return
        self._raise(self._watch, shared.clip, said)
        if self._watch.why_ended is not None:
            self._note_ended()
        if text and set(self._watch.trigger_names) & WAIT_FOR_REPLY:
            try:
                await self._watch.trigger.spoke(text, score)
            except CheckLost:
                return

    async def _words(self, score: ForkScore, decision: Speak) -> dict[str, Any]:
        options = self._watch.options
        if decision.text is not None:
            return {"text": decision.text}
        bare = options.condition or ""
        if score.prompts.reply is None and options.json_schema is None:
            return {"text": bare}
        if options.json_schema is not None:
            score = score.asking(_with_schema(score.prompts.reply or bare, options.json_schema))
        try:
            text = (await score.reply()).strip()
        except CheckLost as error:
            return {"text": bare, "problem": f"its text could not be written: {error}"}
        if options.json_schema is None:
            return {"text": text}
        return {"text": bare or text, **_data(text, options.json_schema)}

    def _forget(self, reply: "asyncio.Task[None]") -> None:
        self._replies.discard(reply)
        if not reply.cancelled() and (error := reply.exception()) is not None:
            _log.error("a watch could not speak", exc_info=error)


def _with_schema(prompt: str, schema: Any) -> str:
    return (
        f"{prompt} Reply with one JSON object that fits this JSON Schema, and with nothing else: "
        f"{json.dumps(schema)}"
    )


def _data(text: str, schema: Any) -> dict[str, Any]:
    """The JSON object in a reply, or what is wrong with it."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except ValueError:
        value = None
    if value is None:
        return {"data": None, "problem": "the reply holds no JSON object"}
    why = misfit(value, schema)
    return {"data": value} if why is None else {"data": None, "problem": why}
