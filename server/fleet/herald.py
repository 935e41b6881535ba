"""`Herald`: tells the other servers of a fleet how this one is, and hears how they are."""

import logging
from collections.abc import Callable
from contextlib import suppress

from pydantic import ValidationError

from onlooker.cache_store.notices import NoticeBoard, NoticesUnreachable
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.core.protocol.http import ServerObject

_log = logging.getLogger("onlooker.server.fleet.herald")


class Herald:
    """`run` as a task; `close` once."""

    def __init__(self, board: NoticeBoard, *, every_s: float, clock: Clock) -> None:
        self._board, self._every_s, self._clock = board, every_s, clock

    async def run(self, describe: Callable[[], ServerObject]) -> None:
        """Tell now and then, for ever, how this server is."""
        was_reached = True
        while True:
            try:
                await self._board.put_up(describe().model_dump_json())
            except NoticesUnreachable as error:
                if was_reached:
                    _log.warning("servers hear nothing of this one", extra={"error": str(error)})
                was_reached = False
            else:
                was_reached = True
            await self._clock.sleep(self._every_s)

    async def servers(self) -> list[ServerObject]:
        """All servers that are heard of, by name.

        Raises:
            Overloaded: it is not known.
        """
        try:
            notices = await self._board.read()
        except NoticesUnreachable as error:
            raise Overloaded(
                "it cannot be told which servers there are, since Redis does not answer: try again "
                "later",
                retry_after_s=self._every_s,
            ) from error
        found = []
        for notice in notices:
            with suppress(ValidationError):  # of another version, which has other words
                server = ServerObject.model_validate_json(notice.text)
                found.append(server.model_copy(update={"age_s": round(notice.age_s, 1)}))
        return found

    async def close(self) -> None:
        """Take the notice down, and let go of the board."""
        with suppress(NoticesUnreachable):
            await self._board.take_down()
        await self._board.close()
