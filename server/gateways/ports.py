"""The sockets of several gateways: one port for all of them, and one more for each.

Each gateway has a listening socket of its own on the shared port (``SO_REUSEPORT``), and the kernel
gives each connection to one of them. The port of its own is where the other gateways, and whoever
wants its figures, find this one.

Beside them each port is held by a socket that never listens, so that nobody else can take it while
no gateway has it: one that died, or all of them.
"""

import socket

from onlooker.core.errors import ConfigError
from onlooker.server.config import ServerSection
from onlooker.server.serving import base_url, bind


class Ports:
    """Opens the sockets of gateways, the first time and again, and holds their ports until `close`.
    Callers reach a port while a socket listens on it, and are refused at once while none does.

    Raises:
        ConfigError: somebody has the shared port, or the address is none of this machine's.
    """

    def __init__(self, section: ServerSection) -> None:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise ConfigError("this system has no SO_REUSEPORT: leave server.gateways at 1")
        with bind(section) as first:  # which refuses a port that others would share
            port = int(first.getsockname()[1])
        self._section = section.model_copy(update={"port": port})
        first_own = section.gateway_port or (section.port and section.port + 1)
        self._own = [first_own and first_own + index for index in range(section.gateways)]
        self._held = _hold(self._section)
        self._held_own: dict[int, socket.socket] = {}
        """By the gateways' numbers."""

    def close(self) -> None:
        """Give the ports back."""
        for held in (self._held, *self._held_own.values()):
            held.close()

    @property
    def base(self) -> str:
        """The URL at which clients reach the gateways."""
        return base_url(self._section, self._section.port)

    @property
    def shared_port(self) -> int:
        """The port that the gateways share."""
        return self._section.port

    def own_url(self, index: int) -> str:
        """The URL at which one gateway is reached from this machine; known once `own` has opened
        its port."""
        section = self._section.model_copy(update={"port": self._own[index]})
        return base_url(section, self._own[index])

    def shared(self, *, listens: bool) -> socket.socket:
        """One more socket on the shared port. It `listens` at once, or when its gateway does."""
        return bind(self._section, shares=True, listens=listens)

    def own(self, index: int, *, listens: bool) -> socket.socket:
        """The socket on a gateway's own port.

        Raises:
            ConfigError: the port is taken; says which setting names it.
        """
        section = self._section.model_copy(update={"port": self._own[index]})
        try:
            if index not in self._held_own:
                with bind(section) as first:  # the shared port, too, is refused
                    port = self._own[index] = int(first.getsockname()[1])
                section = section.model_copy(update={"port": port})
                self._held_own[index] = _hold(section)
            return bind(section, shares=True, listens=listens)
        except ConfigError as error:
            raise ConfigError(
                f"gateway {index} needs a port of its own beside the one that all share, and wants "
                f"{section.port} (server.gateway_port is that of the first): {error.message}"
            ) from error


def _hold(section: ServerSection) -> socket.socket:
    """A socket that has a port, takes no connections, and shares the port with those who say that
    they share it. Others could take it along with a socket that lets addresses be used again, as
    long as nobody listens; so it does that only until it has the port, for the connections of an
    earlier server which are ending."""
    held = bind(section, shares=True, listens=False)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return held
