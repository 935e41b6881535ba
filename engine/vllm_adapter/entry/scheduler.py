"""vLLM's scheduler, with what segments need of it, and with our order of work.

vLLM makes it in the engine's process, from the class's name. There are two, since vLLM has two.
"""

import time
from typing import Any

from onlooker.core.clock import SystemClock
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.entry.connector import SegmentConnector
from onlooker.engine.vllm_adapter.seams import AsyncScheduler, RequestState, Scheduler
from onlooker.engine.vllm_adapter.step import arrivals
from onlooker.engine.vllm_adapter.step.docket import Docket
from onlooker.engine.vllm_adapter.step.empty_steps import EmptySteps
from onlooker.engine.vllm_adapter.step.lineup import Lineup
from onlooker.engine.vllm_adapter.step.steward import Steward
from onlooker.engine.vllm_adapter.wire import AdapterSettings
from onlooker.scheduler.load_meter import LoadMeter, longest_step_s
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepLimits


class SegmentScheduler(Scheduler):
    """The scheduler that plans one step after the other, as vLLM does on a CPU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = SystemClock()
        self._empty_steps = EmptySteps()
        self._is_fetching = False
        self.steward: Steward | None = None
        section = AdapterSettings.from_config(seams.connector_config(self)).scheduler
        if section.policy == "slo" and isinstance(self.connector, SegmentConnector):
            docket = Docket(
                num_covered=self.connector.num_covered,
                retrieves=self.connector.retrieves,
                token_bytes=seams.token_bytes(self),
            )
            meter = LoadMeter(longest_step_s(section), self._clock.now_s())
            self.steward = Steward(
                SloPolicy(section), docket, self._clock, meter, lambda: seams.free_ratios(self)
            )

    def schedule(self, throttle_prefills: bool = False) -> Any:
        if not isinstance(self.connector, SegmentConnector):
            return super().schedule(throttle_prefills)
        began_s = self._clock.now_s()
        running, waiting = seams.queues(self)
        runs = [seams.request_state(request) for request in running]
        waits: list[RequestState] = []
        # Requests that wait for the store, so that no order of work counts on them.
        fetching: list[str] = []
        for state in map(seams.request_state, waiting):
            if self.connector.awaits_fetch(state):
                fetching.append(state.request_id)
            else:
                waits.append(state)
        self._is_fetching = bool(fetching)
        limits = StepLimits(*seams.step_limits(self))
        lineup = None
        if self.steward is not None:
            lineup = self.steward.lineup(runs, waits, limits)
            if lineup is None:
                # What waits may still stand in the order of a policy that has failed since.
                waits.sort(key=lambda state: seams.arrived_at(self.requests[state.request_id]))
        if lineup is None:
            num_startable = arrivals.num_startable(
                runs,
                waits,
                max_tokens=limits.max_tokens,
                num_covered=self.connector.num_covered,
                retrieves=self.connector.retrieves,
            )
            lineup = Lineup.in_turn(runs, waits, num_startable, limits)
        with seams.arranged(
            self,
            running=[self.requests[key] for key in lineup.running],
            aside=[self.requests[key] for key in lineup.aside],
            waiting=[self.requests[key] for key in lineup.waiting],
            held=[self.requests[key] for key in (*fetching, *lineup.held)],
            token_budget=lineup.token_budget,
            chunk_limit=lineup.chunk_limit,
        ):
            output = super().schedule(throttle_prefills)
        if self.steward is None:
            return output
        self.steward.begun(
            output,
            self.connector.scheduled,
            self.connector.plan,
            lambda key: seams.num_output_tokens(self.requests[key]),
            began_s,
        )
        return output

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> dict[int, Any]:
        # The report is taken before requests finish, so that their outputs carry it.
        report = seams.connector_report(model_runner_output)
        if report is not None and self.connector is not None:
            self.connector.update_connector_output(report)  # super() does it again: idempotent
        if self.steward is not None:
            sampled = seams.sampled_counts(model_runner_output)
            self.steward.ended(scheduler_output, self.requests, sampled)
        outputs: dict[int, Any] = super().update_from_output(scheduler_output, model_runner_output)
        if self.steward is not None:
            finished = {output.request_id: output for output in seams.finished_outputs(outputs)}
            for request_id, params in self.steward.told(finished).items():
                seams.add_output_params(finished[request_id], params)
        is_empty = seams.is_empty_step(scheduler_output) and self._is_fetching
        if rest_s := self._empty_steps.rest_s(is_empty=is_empty):
            time.sleep(rest_s)
        return outputs


class AsyncSegmentScheduler(SegmentScheduler, AsyncScheduler):
    """The scheduler that plans the next step while one runs, as vLLM does by default on a GPU."""
