"""The sockets of several gateways: one port for all of them, and one more for each.

Each gateway has a listening socket of its own on the shared port (``SO_REUSEPORT``), and the kernel
gives each connection to one of them. The port of its own is where the other gateways, and whoever
wants its figures, find this one.
"""

import socket

from onlooker.core.errors import ConfigError
from onlooker.server.config import ServerSection
from onlooker.server.serving import base_url, bind


class Ports:
    """Opens the sockets of gateways, the first time and again. The shared port is taken as long as
    a socket listens on it.

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
            found = bind(section, listens=listens)
        except ConfigError as error:
            raise ConfigError(
                f"gateway {index} needs a port of its own beside the one that all share, and wants "
                f"{section.port} (server.gateway_port is that of the first): {error.message}"
            ) from error
        self._own[index] = int(found.getsockname()[1])
        return found
