"""vLLM's scheduler, with what segments need of it, and with our order of work.

vLLM makes it in the engine's process, from the class's name. Two of them, since vLLM has two.
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput

from onlooker.core.clock import SystemClock
from onlooker.engine.vllm_adapter.entry.connector import SegmentConnector
from onlooker.engine.vllm_adapter.step.docket import Docket
from onlooker.engine.vllm_adapter.step.steward import Steward
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load_meter import LoadMeter, longest_step_s
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepLimits

SETTINGS_KEY = "scheduler"
"""Where the settings stand in the connector's configuration, the one that reaches this process."""


class SegmentScheduler(Scheduler):
    """One step after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = SystemClock()
        self.steward: Steward | None = None
        config = self.vllm_config.kv_transfer_config
        section = SchedulerSection.model_validate(
            config.kv_connector_extra_config.get(SETTINGS_KEY, {"policy": "fcfs"})
        )
        if section.policy == "slo" and isinstance(self.connector, SegmentConnector):
            docket = Docket(
                num_covered=self.connector.num_covered,
                retrieves=self.connector.retrieves,
                token_bytes=self._token_bytes(),
            )
            meter = LoadMeter(longest_step_s(section), self._clock.now_s())
            self.steward = Steward(
                SloPolicy(section), docket, self._clock, meter, self._free_ratios
            )

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        if self.steward is None:
            return super().schedule(throttle_prefills)
        began_s = self._clock.now_s()
        limits = StepLimits(self.max_num_scheduled_tokens, self.max_num_running_reqs)
        lineup = self.steward.lineup(self.running, list(self.waiting), limits)
        if lineup is None:
            self._queue_by_arrival()
            output = super().schedule(throttle_prefills)
        else:
            with lineup.arranged(self):
                output = super().schedule(throttle_prefills)
        self.steward.begun(output, self.requests, began_s)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, Any]:
        # Before requests finish, so that their outputs carry the connector's report.
        report = model_runner_output.kv_connector_output
        if report is not None and self.connector is not None:
            self.connector.update_connector_output(report)  # again by super(): it is idempotent
        if self.steward is not None:
            tokens = zip(
                model_runner_output.req_ids, model_runner_output.sampled_token_ids, strict=False
            )
            sampled = {request_id: len(ids) for request_id, ids in tokens}
            self.steward.ended(scheduler_output, self.requests, sampled)
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        if self.steward is not None:
            self.steward.tell(o for client in outputs.values() for o in client.outputs)
        return outputs

    def _queue_by_arrival(self) -> None:
        """What waits may still stand in the order of a policy that has failed since."""
        waiting = sorted(self.waiting, key=lambda request: request.arrival_time)
        self.waiting.clear()
        self.waiting.extend(waiting)

    def _token_bytes(self) -> int:
        groups = self.kv_cache_config.kv_cache_groups
        return sum(
            group.kv_cache_spec.page_size_bytes
            * len(group.layer_names)
            // group.kv_cache_spec.block_size
            for group in groups
        )

    def _free_ratios(self) -> tuple[float, float]:
        encoder = self.encoder_cache_manager
        free = encoder.num_freeable_slots / max(1, encoder.cache_size)
        return 1 - self.kv_cache_manager.usage, free


class AsyncSegmentScheduler(SegmentScheduler, AsyncScheduler):
    """The next step is scheduled while one runs, as vLLM does by default on a GPU."""
