"""`Picker`: which pictures of one message of coded video are looked at."""

from dataclasses import dataclass, field

from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stream_time import TimeJump


@dataclass(slots=True)
class Picker:
    """Asked once for each picture of a message, in order. Plain enough to be sent to a process and
    back: only `sampler.due_s`, `num_passed_over` and `jumps` change."""

    sampler: Sampler
    newest_s: float | None
    """Stream time of the newest picture that was looked at; older ones are not wanted."""
    is_hurried: bool = False
    """The model is behind: nothing is wanted, but the sampler goes on."""
    num_passed_over: int = 0
    """Pictures that were not wanted only because of the hurry."""
    jumps: list[TimeJump] = field(default_factory=list)
    """How the time in the container jumped among the pictures."""

    def wanted(self, capture_s: float) -> bool:
        """Whether the picture of this stream time is to be looked at."""
        if self.newest_s is not None and capture_s <= self.newest_s:
            return False
        is_picked = self.sampler.pick(capture_s)
        if is_picked and self.is_hurried:
            self.num_passed_over += 1
            return False
        return is_picked
