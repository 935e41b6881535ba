"""`Steward`: applies the policy to vLLM's steps, measures them, and gives up without harm.

Whatever fails in here is caught: from then on requests are served in order of arrival, which is
what vLLM does by itself.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from onlooker.core.clock import Clock
from onlooker.engine.vllm_adapter.seams import RequestState, ScheduledRequest
from onlooker.engine.vllm_adapter.step.docket import Docket
from onlooker.engine.vllm_adapter.step.lineup import Lineup
from onlooker.engine.vllm_adapter.wire import WorkerPlan, load_params, served_params
from onlooker.scheduler.cost_model import StepWork
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.load_meter import LoadMeter, SeatedClip
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepLimits, StepPlan

_log = logging.getLogger("onlooker.engine.vllm")

TYPICAL_QUESTION_TOKENS = 40
SWEEP_STEPS = 256
"""Steps between two sweeps for requests that were aborted."""


class Steward:
    """Puts each step in order and measures it. One per engine process, held by the scheduler.

    Args:
        free_ratios: tells free KV and encoder memory, each as a share of all.
    """

    def __init__(
        self,
        policy: SloPolicy,
        docket: Docket,
        clock: Clock,
        meter: LoadMeter,
        free_ratios: Callable[[], tuple[float, float]],
    ) -> None:
        self._policy = policy
        self._docket = docket
        self._clock = clock
        self._free_ratios = free_ratios
        self._plan = StepPlan()
        self._in_flight: deque[tuple[int, float, StepWork, list[SeatedClip]]] = deque()
        self._ended_at_s = clock.now_s()
        self._meter = meter
        self._num_steps = 0
        self.has_fallen_back = False

    def lineup(
        self, running: Sequence[RequestState], waiting: Sequence[RequestState], limits: StepLimits
    ) -> Lineup | None:
        """The order of this step; None leaves it to vLLM."""
        if self.has_fallen_back or not (running or waiting):
            return None
        try:
            now_s = self._clock.now_s()
            jobs = self._docket.jobs((*running, *waiting), now_s)
            self._plan = self._policy.plan(jobs, now_s, limits)
            started = [allotment.job for allotment in self._plan.served]
            self._docket.note_started(started, now_s, self._policy.costs.table)
            return Lineup.of(
                self._plan,
                [request.request_id for request in running],
                [request.request_id for request in waiting],
            )
        except Exception as error:
            self._fall_back(error)
            return None

    def begun(
        self,
        step: object,
        scheduled: Sequence[ScheduledRequest],
        plan: WorkerPlan,
        num_output_tokens: Callable[[str], int],
        began_s: float,
    ) -> None:
        """Note that a step has been scheduled.

        Args:
            step: an object that is known again by its identity when the step has ended.
            scheduled: what the step does for each request.
            plan: what the workers are told to load in the step.
            num_output_tokens: tokens that a request has generated so far.
            began_s: clock time at which scheduling the step began.
        """
        if self.has_fallen_back or not scheduled:
            return
        try:
            works = self._docket.works(scheduled, plan, num_output_tokens)
            total = sum((work for work, _ in works.values()), StepWork())
            clips = [
                SeatedClip(work, self._docket.seat(request_id))
                for request_id, (work, name) in works.items()
                if name is RequestClass.INGEST
            ]
            self._in_flight.append((id(step), began_s, total, clips))
        except Exception as error:
            self._fall_back(error)

    def ended(self, step: object, known: Iterable[str], sampled: Mapping[str, int]) -> None:
        """Note that a step has run. `known`: ids of all requests that vLLM has, `sampled`: tokens
        that the step gave each request."""
        if self.has_fallen_back or not self._in_flight or self._in_flight[0][0] != id(step):
            return
        try:
            now_s = self._clock.now_s()
            _, began_s, work, clips = self._in_flight.popleft()
            # Where steps overlap, this one took the time since the one before it ended.
            took_s = now_s - max(began_s, self._ended_at_s)
            self._policy.learn(work, took_s)
            self._note_questions(took_s)
            self._meter.note(work, took_s, self._policy.costs.table, now_s, clips)
            self._ended_at_s = now_s
            for request_id, count in sampled.items():
                self._docket.note_tokens(request_id, count, now_s)
            self._num_steps += 1
            if self._num_steps % SWEEP_STEPS == 0:
                self._docket.keep_only(known)
        except Exception as error:
            self._fall_back(error)

    def told(self, request_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the outputs of requests that have ended should carry, by request: how they were
        served; and the last one of each gateway, how busy the engine is, for all of them come
        together."""
        found: dict[str, dict[str, Any]] = {}
        last: dict[int, str] = {}
        try:
            for request_id in request_ids:
                last[self._docket.seat(request_id)] = request_id
                served = self._docket.close(request_id)
                found[request_id] = {} if served is None else served_params(served)
            for seat, request_id in last.items():
                found[request_id].update(load_params(self._load(seat)))
        except Exception as error:
            self._fall_back(error)
        return found

    def _load(self, seat: int) -> EngineLoad:
        costs = self._policy.costs.table
        waits = dict.fromkeys(RequestClass, 0.0)
        for job in self._plan.waiting:
            waits[job.request_class] += costs.extra_s(job.work())
        clip = StepWork(prefill_tokens=TYPICAL_QUESTION_TOKENS, batch_size=1, encoder_clips=1)
        question = StepWork(prefill_tokens=TYPICAL_QUESTION_TOKENS, batch_size=1)
        kv_free, encoder_free = self._free_ratios()
        return EngineLoad(
            busy_ratio=self._meter.busy_ratio,
            load_ratio=self._meter.load_ratio,
            question_wait_s=self._plan.predicted_s,
            frame_wait_s=waits[RequestClass.INGEST],
            question_s=max(costs.extra_s(question), self._meter.question_interval_s),
            clip_s=self._meter.clip_s(costs, clip),
            context_s=self._meter.context_s(costs),
            frames_ratio=self._meter.frames_ratio,
            others_ratio=self._meter.others_ratio(seat),
            room_ratio=self._meter.room_ratio,
            num_steps=self._policy.costs.num_steps,
            costs=astuple(costs),
            kv_free_ratio=kv_free,
            encoder_free_ratio=encoder_free,
            cost_error_ratio=self._policy.costs.error_ratio,
            has_fallen_back=self.has_fallen_back,
        )

    def _note_questions(self, took_s: float) -> None:
        questions = RequestClass.QUESTION
        started = sum(a.job.request_class is questions for a in self._plan.served)
        waiting = sum(job.request_class is questions for job in self._plan.waiting)
        self._meter.note_questions(started, waiting, took_s)

    def _fall_back(self, error: Exception) -> None:
        if not self.has_fallen_back:
            self.has_fallen_back = True
            _log.error(
                "the scheduling policy failed; requests are served in order of arrival until the "
                "server is restarted",
                exc_info=error,
            )
        self._in_flight.clear()
