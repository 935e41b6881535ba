"""`Pursuit`: where a call or a connection goes that is about a stream which moves meanwhile.

What is known of a stream's owner may be a second old, an owner may be gone, or just be letting the
stream go. So whoever was sent to a server and refused there is sent on, until somebody takes it:
each time from here, and so over one hop.
"""

from starlette.requests import HTTPConnection

from onlooker.core.errors import NoRoom, OwnedElsewhere, ShuttingDown
from onlooker.core.ids import tenant_stream_id
from onlooker.server.fleet.fleet_relay import FleetRelay, OwnerUnreached
from onlooker.server.gateway import Gateway
from onlooker.server.relay.finding import HANDOVER_S, take_over
from onlooker.server.relay.placing import STAYS, PlacedElsewhere, another_place

POLL_S = 0.03

MAX_MOVES = 3
"""Servers that one call is sent to at most."""

NOT_THE_OWNER = "owned_elsewhere"
LETTING_GO = "shutting_down"
NOT_THERE = "not_found"


class Pursuit:
    """Of one call or connection.

    Args:
        owner: the server to begin with.
        opens_itself: whether what is served here opens the stream by itself; else that is done
            before.
    """

    def __init__(
        self,
        gateway: Gateway,
        relay: FleetRelay,
        connection: HTTPConnection,
        owner: OwnedElsewhere,
        *,
        opens_itself: bool = False,
    ) -> None:
        self._gateway, self._relay, self._connection = gateway, relay, connection
        self._opens_itself = opens_itself
        self._num_moves = 0
        self.owner: OwnedElsewhere | None = owner
        """The server to ask next; None: it is to be served here."""

    async def begin(self) -> None:
        """Call it first.

        Raises:
            OwnedElsewhere: it may not be passed on, as it was before, or as that is switched off.
            what `gone` does.
        """
        owner, headers = self.owner, self._connection.headers
        assert owner is not None
        if self._relay.may_pass_on(headers, owner):
            return
        if not self._relay.was_passed_on(headers):
            raise owner
        # Whoever passed it on may know better: what is known here may be a second old.
        self._relay.doubt(owner)
        try:
            is_left = await self._relay.check_elsewhere(tenant_stream_id(*owner.stream))
        except OwnedElsewhere as newer:
            if not await self._relay.is_gone(newer):
                raise
            is_left = True
        if is_left:
            await self._go_on_here()
        else:
            self.owner = None

    async def gone(self) -> None:
        """Go on, as nothing answers any more at the owner's address.

        Raises: what `take_over` does, where no other server takes the stream over either.
        """
        if isinstance(self.owner, PlacedElsewhere):
            self._stay()
        else:
            await self._go_on_here()

    def unreached(self, error: OwnerUnreached) -> None:
        """Go on, as the owner takes no connection in time.

        Raises: `error`, where it has the stream and has to be waited for.
        """
        if not isinstance(self.owner, PlacedElsewhere):
            raise error
        self._stay()

    async def refused(self, code: str) -> bool:
        """Go on after the server has refused with an error of this code; returns False where that
        refusal stands.

        Raises: what `gone` does, and `Overloaded` where it is not known who owns the stream.
        """
        owner = self.owner
        assert owner is not None
        if isinstance(owner, PlacedElsewhere):
            if code == NOT_THERE:
                return False
            if code != NOT_THE_OWNER or not await self._has_found_owner(owner):
                self._stay()
            return True
        clock = self._gateway.clock
        until_s = clock.now_s() + HANDOVER_S
        while True:
            self._relay.doubt(owner)
            try:
                is_left = await self._relay.check_elsewhere(tenant_stream_id(*owner.stream))
            except OwnedElsewhere as newer:
                if newer.server != owner.server:
                    return self._ask(newer)
                if code != LETTING_GO or clock.now_s() >= until_s:
                    return False
            else:
                if code == NOT_THERE and not is_left and not self._is_here(owner):
                    return False
                await self._go_on_here()
                return True
            await clock.sleep(POLL_S)

    async def _go_on_here(self) -> None:
        owner = self.owner
        assert owner is not None
        try:
            if self._opens_itself:
                self._gateway.check_ready()
            else:
                await take_over(self._gateway, *owner.stream)
        except OwnedElsewhere as newer:  # another server was quicker
            if not self._relay.may_pass_on(self._connection.headers, newer) or not self._ask(newer):
                raise
        except (NoRoom, ShuttingDown) as refusal:
            self._ask(another_place(self._gateway, self._connection, refusal, *owner.stream))
        else:
            self.owner = None

    def _is_here(self, owner: OwnedElsewhere) -> bool:
        """Whether this server has the stream by now."""
        return self._gateway.hub.has(tenant_stream_id(*owner.stream))

    async def _has_found_owner(self, placed: OwnedElsewhere) -> bool:
        """Whether a third server has taken over the stream that was sent to `placed`; then that one
        is asked next."""
        tenant, name = placed.stream
        if not name:
            return False
        try:
            await self._relay.check_elsewhere(tenant_stream_id(tenant, name))
        except OwnedElsewhere as owner:
            return self._ask(owner)
        return False

    def _ask(self, owner: OwnedElsewhere) -> bool:
        self._num_moves += 1
        if self._num_moves > MAX_MOVES:
            return False
        self.owner = owner
        return True

    def _stay(self) -> None:
        self._connection.scope[STAYS] = True
        self.owner = None
