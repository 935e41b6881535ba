"""vLLM's scheduler, with what segments need of it."""

from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput


class SegmentScheduler(Scheduler):
    """Hands the connector's report over before requests finish, so that their outputs carry it."""

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, Any]:
        report = model_runner_output.kv_connector_output
        if report is not None and self.connector is not None:
            self.connector.update_connector_output(report)  # again by super(): it is idempotent
        return super().update_from_output(scheduler_output, model_runner_output)
