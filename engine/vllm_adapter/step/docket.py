"""`Docket`: vLLM's unfinished requests, as the policy sees them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onlooker.engine.vllm_adapter.seams import RequestState, ScheduledRequest
from onlooker.engine.vllm_adapter.wire import WorkerPlan, read_ticket
from onlooker.scheduler.cost_model import CostTable, StepWork
from onlooker.scheduler.job import Job, slack_s
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Served, Ticket

UNTOLD_DUE_S = 1.0
"""Seconds after which requests without a ticket are due, from when they come in."""

LEARN = 0.05
"""Weight of the newest request in what its class is expected to load."""


@dataclass(slots=True)
class _Entry:
    """What does not change about a request, and when things happened to it."""

    ticket: Ticket
    num_covered: int
    """Tokens that are not computed when the request starts: loaded, or still in vLLM's blocks."""
    is_whole: bool
    """Whether retrieval needs the request's question in one step."""
    seat: int = 0
    """Which of the gateways that share the engine it came from."""
    has_loaded: bool = False
    started_at_s: float | None = None
    slack_s: float = 0.0
    """Seconds of slack that the request had when it was started."""
    first_token_at_s: float | None = None
    last_token_at_s: float = 0.0
    num_tokens_out: int = 0


class Docket:
    """Remembers every request from its first step to its end.

    Args:
        num_covered: tokens at the start of a request's prompt that are not computed.
        retrieves: whether a request's question chooses clips.
        token_bytes: bytes of KV that one token takes.
    """

    def __init__(
        self,
        *,
        num_covered: Callable[[RequestState], int],
        retrieves: Callable[[RequestState], bool],
        token_bytes: int,
    ) -> None:
        self._num_covered = num_covered
        self._retrieves = retrieves
        self._token_bytes = token_bytes
        self._entries: dict[str, _Entry] = {}
        # A context that grows stays in vLLM's blocks; which tokens do is known only when a request
        # starts. Until then it counts with the share that others of its class had to load.
        self._load_shares = dict.fromkeys(RequestClass, 1.0)

    def jobs(self, requests: Iterable[RequestState], now_s: float) -> list[Job]:
        """The requests that a step can serve as jobs, in no order."""
        return [
            self._job(request, now_s)
            for request in requests
            if not (request.is_ending or request.is_blocked)
        ]

    def works(
        self,
        scheduled: Iterable[ScheduledRequest],
        plan: WorkerPlan,
        num_output_tokens: Callable[[str], int],
    ) -> dict[str, tuple[StepWork, RequestClass]]:
        """What a step that vLLM has scheduled computes for each request; learns how much of their
        covered tokens requests really load.

        Args:
            plan: what the workers are told to load in the step.
            num_output_tokens: tokens that a request has generated so far.
        """
        loaded = _loaded_tokens(plan)
        found: dict[str, tuple[StepWork, RequestClass]] = {}
        for request in scheduled:
            entry = self._entries.get(request.request_id)
            if entry is None:
                continue
            num_known = request.num_tokens - request.num_guessed_tokens
            is_decode = num_known == 1 and num_output_tokens(request.request_id) > 0
            num_loaded = loaded.get(request.request_id, 0)
            name = entry.ticket.request_class
            if entry.num_covered and not entry.has_loaded and not is_decode:
                entry.has_loaded = True
                share = min(1.0, num_loaded / entry.num_covered)
                self._load_shares[name] += LEARN * (share - self._load_shares[name])
            work = StepWork(
                prefill_tokens=0 if is_decode else request.num_tokens,
                decode_tokens=int(is_decode),
                loaded_bytes=num_loaded * self._token_bytes,
                batch_size=1,
                encoder_clips=request.num_encoded_clips,
            )
            found[request.request_id] = work, RequestClass.DECODE if is_decode else name
        return found

    def note_started(self, jobs: Iterable[Job], now_s: float, costs: CostTable) -> None:
        """Note that these jobs are in a step that begins now."""
        for job in jobs:
            entry = self._entries[job.key]
            if entry.started_at_s is None:
                entry.started_at_s = now_s
                entry.slack_s = slack_s(job, now_s, costs)

    def note_tokens(self, request_id: str, count: int, now_s: float) -> None:
        """Note that a step has given a request `count` more tokens."""
        entry = self._entries.get(request_id)
        if entry is None or not count:
            return
        if entry.first_token_at_s is None:
            entry.first_token_at_s = now_s
        entry.last_token_at_s = now_s
        entry.num_tokens_out += count

    def seat(self, request_id: str) -> int:
        """Which of the gateways that share the engine a request came from."""
        entry = self._entries.get(request_id)
        return 0 if entry is None else entry.seat

    def close(self, request_id: str) -> Served | None:
        """Forget a request; returns how it was served, for its output."""
        entry = self._entries.pop(request_id, None)
        if entry is None or entry.started_at_s is None or entry.first_token_at_s is None:
            return None
        ticket = entry.ticket
        missed = []
        if entry.first_token_at_s > ticket.due_at_s:
            missed.append(ticket.request_class.label)
        if entry.num_tokens_out > 1:
            decode_s = entry.last_token_at_s - entry.first_token_at_s
            if decode_s > ticket.tpot_s * (entry.num_tokens_out - 1):
                missed.append(RequestClass.DECODE.label)
        return Served(
            request_class=ticket.request_class.label,
            queue_s=max(0.0, entry.started_at_s - ticket.arrived_at_s),
            slack_s=entry.slack_s,
            missed=tuple(missed),
            started_at_s=entry.started_at_s,
            first_token_at_s=entry.first_token_at_s,
            last_token_at_s=entry.last_token_at_s,
        )

    def keep_only(self, request_ids: Iterable[str]) -> None:
        """Forget requests that ended without an output, such as aborted ones."""
        known = set(request_ids)
        for request_id in [name for name in self._entries if name not in known]:
            del self._entries[request_id]

    def __len__(self) -> int:
        return len(self._entries)

    def _job(self, request: RequestState, now_s: float) -> Job:
        entry = self._entries.get(request.request_id)
        if entry is None:
            due_at_s = now_s + UNTOLD_DUE_S
            entry = self._entries[request.request_id] = _Entry(
                ticket=read_ticket(request.extra_args)
                or Ticket(RequestClass.QUESTION, now_s, due_at_s),
                num_covered=self._num_covered(request),
                is_whole=self._retrieves(request),
                seat=request.seat,
            )
        computed = request.num_computed_tokens
        left = request.num_left_tokens
        guessed = request.num_guessed_tokens
        if entry.first_token_at_s is not None and computed and left - guessed <= 1:
            due_at_s = entry.first_token_at_s + entry.num_tokens_out * entry.ticket.tpot_s
            return Job(request.request_id, entry.ticket, 1 + guessed, next_token_due_at_s=due_at_s)
        covered = max(computed, entry.num_covered)
        return Job(
            request.request_id,
            entry.ticket,
            num_tokens=max(1, left + computed - covered),
            loaded_bytes=0 if computed else self._expected_bytes(entry),
            encoder_clips=sum(start >= covered for start in request.feature_starts),
            is_whole=entry.is_whole and not computed,
        )

    def _expected_bytes(self, entry: _Entry) -> int:
        share = self._load_shares[entry.ticket.request_class]
        return int(share * entry.num_covered) * self._token_bytes


def _loaded_tokens(plan: WorkerPlan) -> Counter[str]:
    """Tokens whose KV the workers bring back in this step, by request."""
    loaded = Counter[str]()
    for load in plan.loads:
        loaded[load.request_id] += len(load.slots)
    for retrieval in plan.retrievals:
        loaded[retrieval.request_id] += sum(len(slots) for slots in retrieval.place_slots)
    return loaded
