"""What the policy sees of one unfinished request at one step."""

from dataclasses import dataclass

from onlooker.scheduler.cost_model import CostTable, StepWork
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket


@dataclass(slots=True)
class Job:
    """One request, waiting or running."""

    key: str
    ticket: Ticket
    num_tokens: int
    """Tokens yet to compute: of a prompt, or the one that a running answer is due."""
    loaded_bytes: int = 0
    """Bytes of KV to be brought back when the request starts."""
    encoder_clips: int = 0
    """Clips yet to be encoded."""
    is_whole: bool = False
    """Whether all its tokens must be in one step, as retrieval by a question's queries needs."""
    next_token_due_at_s: float | None = None
    """When its next token must come to hold the answer's mean TPOT; None until it decodes."""

    @property
    def is_decoding(self) -> bool:
        return self.next_token_due_at_s is not None

    @property
    def request_class(self) -> RequestClass:
        """The class by which it is served: DECODE while it decodes, else the ticket's."""
        return RequestClass.DECODE if self.is_decoding else self.ticket.request_class

    @property
    def due_at_s(self) -> float:
        """Clock time at which what it waits for is due."""
        if self.next_token_due_at_s is not None:
            return self.next_token_due_at_s
        return self.ticket.due_at_s

    def work(self, num_tokens: int | None = None) -> StepWork:
        """The work that it adds to a step that computes `num_tokens` of it; None: all."""
        if self.is_decoding:
            return StepWork(decode_tokens=1, batch_size=1)
        return StepWork(
            prefill_tokens=self.num_tokens if num_tokens is None else num_tokens,
            loaded_bytes=self.loaded_bytes,
            batch_size=1,
            encoder_clips=self.encoder_clips,
        )


def slack_s(job: Job, now_s: float, costs: CostTable) -> float:
    """Seconds that `job` can still wait and meet its deadline; negative when it cannot any more."""
    return job.due_at_s - now_s - costs.extra_s(job.work())
