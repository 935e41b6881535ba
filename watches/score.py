"""What the triggers of a stream ask of the model about one clip: each thing once, on a fork."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from onlooker.core.ids import ResponseId, new_id
from onlooker.core.media import Clip
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.interface import Question
from onlooker.engine.sampling import Sampling
from onlooker.engine.wording import Wording
from onlooker.scheduler.request_class import RequestClass
from onlooker.watches.prompts import Prompts
from onlooker.watches.schema import for_writing
from onlooker.watches.service import WatchService
from onlooker.watches.triggers.interface import Signals, Silence

_Checks = set["asyncio.Task[CheckResult]"]


@dataclass(slots=True)
class SharedClip:
    """One clip for all watches of its stream: those that ask the same share the result."""

    clip: Clip
    signals: Signals
    service: WatchService
    is_live: bool
    running: _Checks
    """The checks under way. The set belongs to the stream, which breaks them off when it ends."""
    _asked: "dict[Check, asyncio.Task[CheckResult]]" = field(default_factory=dict)

    async def check(self, check: Check) -> CheckResult:
        """The result of `check`, which is run once however many ask for it. `check` has no care
        yet: it gets one when it is run.

        Raises:
            CheckLost: it could not be run.
        """
        if check not in self._asked:
            task = self._asked[check] = asyncio.create_task(self._run(check))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        # Shielded, because a watch that is deleted must not take the result from the others.
        return await asyncio.shield(self._asked[check])

    async def _run(self, check: Check) -> CheckResult:
        care = self.service.care(check.stream_id, RequestClass.CHECK)
        return await self.service.check(replace(check, care=care), is_live=self.is_live)


@dataclass(frozen=True, slots=True)
class ForkScore:
    """`onlooker.watches.triggers.interface.Score` of one watch about one clip."""

    shared: SharedClip
    prompts: Prompts
    json_schema: Mapping[str, Any] | None = None
    """What a reply is held to while the model writes it, where the model can."""

    async def margin(self) -> float:
        wording, question = self._wording, self.prompts.check
        found = await self._check(
            question.text,
            answers=(wording.yes, wording.no),
            num_clips=wording.num_clips_for(question),
        )
        return found.logprobs[0] - found.logprobs[1]

    async def heads(self) -> Mapping[str, float]:
        question = self.prompts.check
        num_clips = self._wording.num_clips_for(question)
        found = await self._check(question.text, reads_heads=True, num_clips=num_clips)
        return found.heads

    async def perplexity(self, text: str) -> float:
        found = await self._check(self._reply_prompt, given=text)
        assert found.perplexity is not None
        return found.perplexity

    async def silence(self) -> Silence:
        answers = (self._wording.silence,)
        found = await self._check(self.prompts.silence, answers=answers)
        chance = math.exp(found.logprobs[0])
        return Silence(chance, 0.0 if found.best_answer == 0 else math.exp(found.best))

    async def reply(self) -> str:
        service, clip = self.shared.service, self.shared.clip
        schema = None
        if self.json_schema is not None and service.model.writes_json:
            schema = for_writing(self.json_schema)
        # JSON has no pauses.
        ramp = self.prompts.pause_ramp if self.json_schema is None else None
        return await service.reply(
            Question(
                text=self._reply_prompt,
                response_id=ResponseId(new_id("alert")),
                stream_id=clip.stream_id,
                asked_s=clip.end_s,
                max_tokens=service.settings.max_tokens,
                json_schema=schema,
                sampling=Sampling(pause_ramp=ramp),
                care=service.care(clip.stream_id, RequestClass.QUESTION),
            )
        )

    def asking(self, prompt: str, json_schema: Mapping[str, Any]) -> "ForkScore":
        """The same, with another prompt for its reply and a schema that the reply must fit."""
        return replace(self, prompts=replace(self.prompts, reply=prompt), json_schema=json_schema)

    @property
    def _wording(self) -> Wording:
        """How the model that checks is asked."""
        return self.shared.service.model.of_checks.wording

    @property
    def _reply_prompt(self) -> str:
        return self.prompts.reply or self.prompts.check.text

    async def _check(
        self,
        text: str,
        *,
        answers: tuple[tuple[str, ...], ...] = (),
        given: str | None = None,
        reads_heads: bool = False,
        num_clips: int | None = None,
    ) -> CheckResult:
        clip = self.shared.clip
        return await self.shared.check(
            Check(
                clip.stream_id,
                text,
                asked_s=clip.end_s,
                answers=answers,
                given=given,
                reads_heads=reads_heads,
                decides=True,
                num_clips=num_clips or self._wording.num_clips,
            )
        )
