"""`QualityControl`: where the governor reads one stream's state and sets its quality."""

from collections.abc import Callable
from dataclasses import dataclass

from onlooker.scheduler.gateway_meter import GatewayWork
from onlooker.scheduler.quality import Quality
from onlooker.streams.events import PaceChanged
from onlooker.streams.intake import Intake
from onlooker.streams.perception.perceiver import Perceiver
from onlooker.streams.quality.pace import PaceAdvisor
from onlooker.streams.quality.service import StreamService
from onlooker.streams.watching import Watcher


@dataclass(frozen=True, slots=True)
class QualityControl:
    """`onlooker.streams.quality.governor.Governed`, of a stream's parts."""

    service: StreamService
    perceiver: Perceiver
    watcher: Watcher
    intake: Intake
    pace: PaceAdvisor
    publish: Callable[[PaceChanged], None]

    @property
    def behind_s(self) -> float:
        """How far the model is behind now; 0 when it has seen all."""
        return self.watcher.behind_s

    @property
    def source_fps(self) -> float:
        """Frames a second that come in; 0 while that is not known."""
        return self.intake.settled_fps()

    @property
    def num_unseen(self) -> int:
        """Frames and clips that wait to be seen."""
        return self.watcher.num_unseen

    @property
    def gateway_work(self) -> GatewayWork:
        """What the gateway has done for this stream so far; questions are not in it."""
        counters = self.watcher.counters
        looked = counters.kept + counters.skipped
        return GatewayWork(offered=counters.received, looked=looked, clips=counters.clips)

    def take_lost(self) -> int:
        """Frames lost since the last call because the model was behind."""
        return self.watcher.take_lost()

    def begin(self) -> None:
        """Take the rung on which the stream begins."""
        if self.service.quality.level:
            self.set_quality(self.service.quality)

    def set_quality(self, quality: Quality) -> None:
        """Look at the stream at another rung of quality, and tell its source."""
        service = self.service
        service.set_quality(quality, source_fps=self.source_fps)
        self.perceiver.set_pace(
            sample_interval_s=service.interval_s,
            max_pair_gap_s=service.pair_gap_s,
            comes_in_twos=service.comes_in_twos,
        )
        if service.must_learn_fps:
            return
        wish = self.pace.set_quality(quality, service.full_fps, self.watcher.lag_s)
        if wish is not None:
            self.publish(wish)
