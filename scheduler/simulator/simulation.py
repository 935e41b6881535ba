"""`Simulation`: one workload, one machine, one order of work, in virtual time.

What the engine does in a step takes what the machine's table says, times noise; everything else
takes no time. The policy under test does not see the table: ours learns it, as on a real engine.
With `governed`, the gateway's half works too: admission, shedding and the quality ladder.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from onlooker.scheduler.admission import Admission, Verdict
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.cost_model import CostModel, StepWork
from onlooker.scheduler.forecast import Pricing
from onlooker.scheduler.job import Job
from onlooker.scheduler.ladder import Ladder
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.load_meter import LoadMeter, SeatedClip, longest_step_s
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.simulator.costs import Machine
from onlooker.scheduler.simulator.outcome import SimulationOutcome
from onlooker.scheduler.simulator.stream import SimulatedStream
from onlooker.scheduler.simulator.workload import Arrival, Kind, Workload
from onlooker.scheduler.slo import Slo
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepLimits, StepPlan, StepPolicy
from onlooker.scheduler.ticket import Ticket

GOVERN_S = 0.25
IDLE_S = 0.005
"""Seconds by which time goes on when nothing is to be done."""
SLOW_TIER_FACTOR = 30
"""Reading a byte from a slow tier takes so many times as long as from the device."""
DROPPING_LOAD = 1.5
MOST_QUESTIONS = 512
"""Answers under way at most, as `streams.max_questions` says for a large server."""


@dataclass(slots=True)
class _Request:
    """A question or a clip that the engine has."""

    job: Job
    stream: SimulatedStream
    frames: list[float]
    """Arrival times of a clip's frames, in seconds; empty for a question."""
    slo: Slo
    num_tokens: int = 0
    """Tokens that an answer will have."""
    num_out: int = 0
    first_s: float = 0.0
    is_scored: bool = True


class Simulation:
    """One workload on one machine under one policy; run it once.

    Args:
        policy: orders each step.
        governed: whether admission, shedding and the ladder work too.
        warm_up_s: seconds from the beginning whose arrivals are not scored.
    """

    def __init__(
        self,
        workload: Workload,
        machine: Machine,
        policy: StepPolicy,
        *,
        section: SchedulerSection | None = None,
        governed: bool = False,
        warm_up_s: float = 5.0,
    ) -> None:
        self._workload, self._machine, self._policy = workload, machine, policy
        self._section = section or SchedulerSection()
        self._governed = governed
        self._warm_up_s = warm_up_s
        self._rng = random.Random(workload.seed)  # noqa: S311  # seeded on purpose
        self._now_s = 0.0
        self._streams: dict[int, SimulatedStream] = {}
        self._requests: dict[str, _Request] = {}
        self._ready: set[int] = set()
        self._ladder = Ladder(
            target_load=self._section.target_load,
            step_down_s=self._section.step_down_s,
            step_up_s=self._section.step_up_s,
        )
        self._admission = Admission(
            target_load=self._section.target_load, refuse_after=self._section.refuse_after
        )
        self._limits = StepLimits(machine.max_tokens, machine.max_jobs)
        self._plan = StepPlan()
        self._meter = LoadMeter(longest_step_s(self._section), 0.0)
        self._governed_at_s = 0.0
        self._pricing = Pricing(most_rest=self._section.most_rest)
        self._num = 0
        self.outcome = SimulationOutcome()

    def run(self) -> SimulationOutcome:
        """Play the workload to its end."""
        arrivals = iter(self._workload.arrivals())
        pending = next(arrivals, None)
        end_s = self._workload.seconds
        while self._now_s < end_s:
            while pending is not None and pending.at_s <= self._now_s:
                self._arrive(pending)
                pending = next(arrivals, None)
            self._govern()
            self._make_clips()
            if self._requests:
                self._step()
            else:
                next_s = end_s if pending is None else pending.at_s
                self._now_s = min(next_s, self._now_s + IDLE_S) if self._ready else next_s
        self.outcome.seconds = end_s - self._warm_up_s
        for request in self._requests.values():
            if not request.frames and request.is_scored:
                # Nobody knows yet what becomes of those that are not late.
                self.outcome.asked -= request.job.due_at_s >= end_s
                self.outcome.unanswered += request.job.due_at_s < end_s
        self.outcome.levels = [s.quality.level for s in self._streams.values() if s.is_open]
        return self.outcome

    # ---- arrivals

    def _arrive(self, arrival: Arrival) -> None:
        if arrival.kind is Kind.JOIN:
            self._join(arrival.stream)
            return
        stream = self._streams[arrival.stream]
        if arrival.kind is Kind.LEAVE:
            stream.is_open = False
            self._ladder.leave(str(arrival.stream))
        elif arrival.kind is Kind.FRAME:
            if arrival.at_s >= self._warm_up_s and arrival.at_s < self._last_scored_s(stream):
                self.outcome.offered += 1
            stream.offer(arrival.at_s)
            self._ready.add(arrival.stream)
        else:
            self._ask(stream, arrival.at_s)

    def _join(self, index: int) -> None:
        tier = self._workload.tier(index)
        stream = SimulatedStream(
            index, tier, self._section.slo(tier), self._workload.fps, self._note_shed
        )
        if self._governed:
            stream.quality = self._ladder.join(str(index), tier, demand=stream.demand)
        self._streams[index] = stream
        if self._warm_up_s < self._workload.seconds:
            self.outcome.seen_by_stream[index] += 0

    def _last_scored_s(self, stream: SimulatedStream) -> float:
        """The time from which frames are not scored: they cannot be seen late before the end."""
        return self._workload.seconds - stream.slo.lag_s

    def _note_shed(self, reason: str, at_s: float) -> None:
        if at_s >= self._warm_up_s:
            self.outcome.shed[reason] += 1

    def _ask(self, stream: SimulatedStream, at_s: float) -> None:
        is_scored = self._warm_up_s <= at_s < self._workload.seconds - 2 * stream.slo.ttft_s
        self.outcome.asked += is_scored
        machine, share = self._machine, stream.quality.memory_share
        answering = [r for r in self._requests.values() if not r.frames]
        if len(answering) >= MOST_QUESTIONS:
            self.outcome.refused += is_scored
            return
        if self._governed:
            waiting = sum(not r.job.is_decoding for r in answering)
            decision = self._admission.question(self._load(), stream.slo, num_ahead=waiting)
            if decision.verdict is Verdict.REFUSE:
                self.outcome.refused += is_scored
                return
            if decision.verdict is Verdict.DEGRADE:
                share = min(share, 0.5)
        loaded = int(share * (machine.window_bytes + machine.retrieved_bytes))
        if self._workload.is_slow_load(self._rng):
            loaded += SLOW_TIER_FACTOR * int(share * machine.retrieved_bytes)
        self._add(
            stream,
            RequestClass.QUESTION,
            at_s,
            at_s + stream.slo.ttft_s,
            tokens=machine.question_tokens,
            loaded=loaded,
            frames=[],
            is_whole=True,
            num_tokens=max(1, round(self._rng.expovariate(1 / machine.answer_tokens))),
            is_scored=is_scored,
        )

    def _make_clips(self) -> None:
        machine, ahead_s = self._machine, self._frame_wait_s() if self._governed else None
        for index in sorted(self._ready):
            stream = self._streams[index]
            frames = stream.take_clip(self._now_s, ahead_s=ahead_s)
            if frames is None:
                if stream.is_empty or stream.in_flight is not None:
                    self._ready.discard(index)
                continue
            self._ready.discard(index)
            self._add(
                stream,
                RequestClass.INGEST,
                frames[0],
                frames[0] + stream.slo.lag_s,
                tokens=machine.clip_tokens,
                loaded=int(stream.quality.memory_share * machine.window_bytes),
                frames=frames,
                clips=1,
            )

    def _add(
        self,
        stream: SimulatedStream,
        name: RequestClass,
        arrived_s: float,
        due_s: float,
        *,
        tokens: int,
        loaded: int,
        frames: list[float],
        clips: int = 0,
        is_whole: bool = False,
        num_tokens: int = 0,
        is_scored: bool = True,
    ) -> None:
        self._num += 1
        key = f"{self._num:09}"
        ticket = Ticket(name, arrived_s, due_s, stream.slo.tpot_s, str(stream.index), stream.tier)
        job = Job(key, ticket, tokens, loaded, clips, is_whole)
        self._requests[key] = _Request(
            job, stream, frames, stream.slo, num_tokens, is_scored=is_scored
        )

    # ---- the engine

    def _step(self) -> None:
        jobs = [request.job for request in self._requests.values()]
        self._plan = self._policy.plan(jobs, self._now_s, self._limits)
        work = self._plan.work
        took_s = self._machine.costs.step_s(work) * self._rng.lognormvariate(0, self._machine.noise)
        self._now_s += took_s
        self._policy.learn(work, took_s)
        if isinstance(self._policy, SloPolicy):
            started = sum(_is_question(a.job) for a in self._plan.served)
            waiting = sum(_is_question(job) for job in self._plan.waiting)
            self._meter.note_questions(started, waiting, took_s)
            clips = [
                SeatedClip(a.job.work(a.num_tokens))
                for a in self._plan.served
                if a.job.request_class is RequestClass.INGEST
            ]
            self._meter.note(work, took_s, self._policy.costs.table, self._now_s, clips)
        self.outcome.busy_s += took_s if self._now_s >= self._warm_up_s else 0.0
        self.outcome.num_steps += 1
        for allotment in self._plan.served:
            self._advance(self._requests[allotment.job.key], allotment.num_tokens)

    def _advance(self, request: _Request, num_tokens: int) -> None:
        job = request.job
        if not job.is_decoding:
            job.num_tokens -= num_tokens
            job.loaded_bytes = 0
            job.encoder_clips = 0
            if job.num_tokens > 0:
                return
            if request.frames:
                self._seen(request)
                return
            request.first_s, job.num_tokens = self._now_s, 1
        request.num_out += 1
        if request.num_out >= request.num_tokens:
            self._answered(request)
        else:
            job.next_token_due_at_s = request.first_s + request.num_out * request.slo.tpot_s

    def _seen(self, request: _Request) -> None:
        del self._requests[request.job.key]
        request.stream.seen()
        self._ready.add(request.stream.index)
        last_s = self._last_scored_s(request.stream)
        for at_s in request.frames:
            if self._warm_up_s <= at_s < last_s:
                lag_s = self._now_s - at_s
                self.outcome.lag_s.append(lag_s)
                self.outcome.in_time += lag_s <= request.slo.lag_s
                self.outcome.seen_by_stream[request.stream.index] += 1

    def _answered(self, request: _Request) -> None:
        del self._requests[request.job.key]
        if not request.is_scored:
            return
        ttft_s = request.first_s - request.job.ticket.arrived_at_s
        tpot_s = (self._now_s - request.first_s) / max(1, request.num_out - 1)
        self.outcome.ttft_s.append(ttft_s)
        self.outcome.tpot_s.append(tpot_s)
        self.outcome.ttft_met += ttft_s <= request.slo.ttft_s
        self.outcome.good_answers += ttft_s <= request.slo.ttft_s and tpot_s <= request.slo.tpot_s

    # ---- the gateway

    def _load(self) -> EngineLoad:
        costs = self._costs().table
        machine = self._machine
        question = StepWork(
            prefill_tokens=machine.question_tokens,
            loaded_bytes=machine.window_bytes + machine.retrieved_bytes,
            batch_size=1,
        )
        clip = StepWork(
            prefill_tokens=machine.clip_tokens,
            loaded_bytes=machine.window_bytes,
            batch_size=1,
            encoder_clips=1,
        )
        return EngineLoad(
            busy_ratio=self._meter.busy_ratio,
            load_ratio=self._meter.load_ratio,
            question_wait_s=self._plan.predicted_s,
            question_s=max(costs.extra_s(question), self._meter.question_interval_s),
            clip_s=self._meter.clip_s(costs, clip),
            context_s=self._meter.context_s(costs),
            frames_ratio=self._meter.frames_ratio,
            room_ratio=self._meter.room_ratio,
            num_steps=self._costs().num_steps,
            cost_error_ratio=self._costs().error_ratio,
        )

    def _frame_wait_s(self) -> float:
        costs = self._costs().table
        return sum(
            costs.extra_s(job.work())
            for job in self._plan.waiting
            if job.request_class is RequestClass.INGEST
        )

    def _costs(self) -> CostModel:
        assert isinstance(self._policy, SloPolicy), "only our policy is governed"
        return self._policy.costs

    def _govern(self) -> None:
        passed_s = self._now_s - self._governed_at_s
        if not self._governed or passed_s < GOVERN_S:
            return
        self._governed_at_s = self._now_s
        open_streams = [stream for stream in self._streams.values() if stream.is_open]
        suffered = sorted(self._suffered(open_streams))
        worst = suffered[len(suffered) * 3 // 4] if suffered else 0.0
        backlog = sum(stream.num_unseen for stream in open_streams)
        pressure = max(self._meter.load_ratio, worst)
        prices = self._pricing.prices(self._load(), self._ladder.work())
        changed = self._ladder.update(pressure, self._now_s, backlog=backlog, prices=prices)
        for name, quality in changed.items():
            self._streams[int(name)].quality = quality

    def _suffered(self, streams: Iterable[SimulatedStream]) -> Iterable[float]:
        for stream in streams:
            lost, stream.num_lost = stream.num_lost, 0
            yield DROPPING_LOAD if lost else stream.behind_s(self._now_s) / stream.slo.lag_s


def _is_question(job: Job) -> bool:
    return job.request_class is RequestClass.QUESTION
