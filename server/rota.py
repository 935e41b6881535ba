"""`Rota`: whose turn it is to ask a stream, between surveys that ask many."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Rota:
    """Lets so many parts of surveys run at a time on one server. Those that wait are let in one
    survey after the other, so that a question to a hundred streams holds up no question to two.

    Everything runs on the event loop.
    """

    def __init__(self, max_running: int) -> None:
        self._free = max_running
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By survey; the one whose turn is next first."""

    @asynccontextmanager
    async def turn(self, survey_id: str) -> AsyncIterator[None]:
        """Run the block as soon as it is the survey's turn."""
        await self._take(survey_id)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, survey_id: str) -> None:
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(survey_id, deque()).append(let_in)
        try:
            await let_in
        except BaseException:
            if let_in.done() and not let_in.cancelled():
                self._give_back()  # it was let in, and left in the same moment
            else:
                self._forget(survey_id, let_in)
            raise

    def _give_back(self) -> None:
        self._free += 1
        while self._free > 0 and self._waiting:
            survey_id, queue = next(iter(self._waiting.items()))
            let_in = queue.popleft()
            if queue:
                self._waiting.move_to_end(survey_id)
            else:
                del self._waiting[survey_id]
            if not let_in.done():
                self._free -= 1
                let_in.set_result(None)

    def _forget(self, survey_id: str, let_in: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(survey_id)
        if queue is not None and let_in in queue:
            queue.remove(let_in)
            if not queue:
                del self._waiting[survey_id]
