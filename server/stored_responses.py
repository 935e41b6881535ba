"""`StoredResponses`: responses that others can go on from, kept in memory within bounds."""

from dataclasses import dataclass

from onlooker.core.errors import NotFound
from onlooker.core.metrics import Metrics
from onlooker.core.protocol.openai_responses import ResponsesReply
from onlooker.server.transcript import Line


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, and what was said up to and with it."""

    reply: ResponsesReply
    lines: tuple[Line, ...]

    @property
    def num_bytes(self) -> int:
        """About how many bytes of memory it holds."""
        words = sum(len(str(part)) for part in (self.reply.tools, self.reply.text.format))
        return 4000 + words + sum(line.num_bytes for line in self.lines)


class StoredResponses:
    """The responses of all tenants; the oldest go when there are too many."""

    def __init__(self, *, max_responses: int, max_bytes: int, metrics: Metrics) -> None:
        self._max_responses, self._max_bytes = max_responses, max_bytes
        self._metrics = metrics
        self._num_bytes = 0
        self._kept: dict[tuple[str, str], StoredResponse] = {}
        """By tenant and id, the oldest first."""

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, tenant: str, stored: StoredResponse) -> None:
        """Keep a response. One that is too large for all the room is not kept."""
        if stored.num_bytes > self._max_bytes or not self._max_responses:
            self._metrics.responses_forgotten.inc()
            return
        self._kept[tenant, stored.reply.id] = stored
        self._num_bytes += stored.num_bytes
        while len(self._kept) > self._max_responses or self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))
            self._metrics.responses_forgotten.inc()

    def get(self, tenant: str, response_id: str, *, param: str | None = None) -> StoredResponse:
        """Return a response.

        Raises:
            NotFound: it was never kept, was deleted, or had to make room.
        """
        found = self._kept.get((tenant, response_id))
        if found is None:
            raise NotFound(
                f"no response '{response_id[:80]}' is kept: it was not stored, was deleted, or had "
                "to make room (settings server.max_stored_responses and "
                "server.max_stored_response_bytes). Send the earlier messages along instead",
                param=param,
            )
        return found

    def delete(self, tenant: str, response_id: str) -> None:
        """Forget a response. Raises `NotFound`."""
        self.get(tenant, response_id)
        self._drop((tenant, response_id))

    def _drop(self, key: tuple[str, str]) -> None:
        self._num_bytes -= self._kept.pop(key).num_bytes
