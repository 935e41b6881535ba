"""`Herald`: tells the other servers of a fleet how this one is, and hears how they are."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from pydantic import ValidationError

from onlooker.cache_store.notices import NoticeBoard, NoticesUnreachable
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.core.protocol.http import ServerObject

_log = logging.getLogger("onlooker.server.fleet.herald")


OnHeard = Callable[[Sequence[ServerObject]], None]
"""Told what all servers have just said of themselves."""


class Herald:
    """`run` as a task; `close` once."""

    def __init__(self, board: NoticeBoard, *, every_s: float, clock: Clock) -> None:
        self._board, self._every_s, self._clock = board, every_s, clock
        self._was_reached = True

    async def run(self, describe: Callable[[], ServerObject], *on_heard: OnHeard) -> None:
        """Tell now and then, for ever, how this server is, and pass on how the others are."""
        while True:
            await self.tell(describe())
            with suppress(Overloaded):
                servers = await self.servers()
                for hear in on_heard:
                    hear(servers)
            await self._clock.sleep(self._every_s)

    async def tell(self, server: ServerObject) -> None:
        """Tell how this server is. Where nobody can be told, that is logged once."""
        try:
            await self._board.put_up(server.model_dump_json())
        except NoticesUnreachable as error:
            if self._was_reached:
                _log.warning("servers hear nothing of this one", extra={"error": str(error)})
            self._was_reached = False
        else:
            self._was_reached = True

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
