"""Wires a porter: gateways and engine core in processes of their own, as the settings say."""

import asyncio
import multiprocessing
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from multiprocessing.connection import Connection

from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.signals import starting_deaf, stay_deaf
from onlooker.engine.shared_core import CoreSeat
from onlooker.server.config import Settings
from onlooker.server.gateways.core_keeper import CoreKeeper, Process
from onlooker.server.gateways.gateway_process import GatewayPlace, run_gateway
from onlooker.server.gateways.gateway_settings import settings_of
from onlooker.server.gateways.messages import BecameReady
from onlooker.server.gateways.porter import GatewayHandle, Porter
from onlooker.server.gateways.ports import Ports
from onlooker.server.release import package_version

_PROCESSES = multiprocessing.get_context("spawn")

RunGateway = Callable[[GatewayPlace, Settings, socket.socket, socket.socket, Connection], None]
"""The whole life of one gateway's process; see `run_gateway`."""


def serve_gateways(
    settings: Settings,
    *,
    clock: Clock,
    say: Callable[[str], None],
    on_ready: Callable[[BecameReady, str], None],
    life: RunGateway = run_gateway,
) -> OnlookerError | None:
    """Serve with several gateways until a signal; returns why the start failed, if it did.

    Args:
        say: tells the person at the terminal.
        on_ready: told what the model is, and the URL at which clients reach the gateways.
        life: what a gateway's process runs; another one is for benchmarks.

    Raises:
        ConfigError: a port is taken.
    """
    section = settings.server
    with closing(Ports(section)) as ports, closing(_Starts(settings, ports, life)) as starts:
        say(
            f"onlooker {package_version()}: mode {settings.engine.mode}, {section.gateways} "
            f"gateways, port open at {ports.base}"
        )
        say(f"each gateway's own port, also for its metrics: {' '.join(starts.own_urls)}")
        has_core = settings.engine.mode != "fake"
        keeper = partial(CoreKeeper, starts.core, num_gateways=section.gateways)
        porter = Porter(
            section,
            start=starts.gateway,
            make_keeper=(lambda on_death: keeper(on_death=on_death)) if has_core else None,
            clock=clock,
            progress=lambda line: say(f"  ... {line}"),
            on_ready=lambda told: on_ready(told, ports.base),
        )
        return asyncio.run(porter.run())


class _Starts:
    """Starts processes. A socket that a process was given is closed here, so that it ends with that
    process."""

    def __init__(self, settings: Settings, ports: Ports, life: RunGateway) -> None:
        self._settings, self._ports, self._life = settings, ports, life
        num_gateways = settings.server.gateways
        with ExitStack() as opened:
            self._first = {
                index: (
                    opened.enter_context(ports.shared(listens=True)),
                    opened.enter_context(ports.own(index, listens=True)),
                )
                for index in range(num_gateways)
            }
            opened.pop_all()  # all could be opened
        self.own_urls = tuple(ports.own_url(index) for index in range(num_gateways))

    def close(self) -> None:
        """Close what no process was given."""
        for bound in (one for pair in self._first.values() for one in pair):
            bound.close()

    def gateway(self, index: int, num_restarts: int) -> tuple[GatewayHandle, Connection]:
        """See `onlooker.server.gateways.porter.StartGateway`."""
        with ExitStack() as opened:
            if index in self._first:
                shared, own = map(opened.enter_context, self._first.pop(index))
            else:
                own = opened.enter_context(self._ports.own(index, listens=False))
                shared = opened.enter_context(self._ports.shared(listens=False))
            place = GatewayPlace(
                index,
                len(self.own_urls),
                num_restarts,
                self._ports.shared_port,
                self.own_urls,
            )
            settings = settings_of(
                self._settings,
                index,
                port=self._ports.shared_port,
                own_url=self.own_urls[index],
            )
            told = (place, settings, shared, own)
            return _started(f"gateway {index}", self._life, *told, deaf_to={signal.SIGINT})

    def core(self, seats: Sequence[CoreSeat]) -> tuple[Process, Connection]:
        """See `onlooker.server.gateways.core_keeper.StartCore`."""
        from onlooker.engine.vllm_adapter.engine import run_core

        settings = self._settings
        num_gateways = settings.server.gateways
        told = (settings.engine, settings.store, settings.scheduler, seats, num_gateways)
        both = {signal.SIGINT, signal.SIGTERM}
        return _started("engine core", run_core, *told, deaf_to=both)


def _started(
    name: str, life: Callable[..., None], *arguments: object, deaf_to: set[signal.Signals]
) -> tuple[GatewayHandle, Connection]:
    """A process that runs `life` with these arguments and its end of a pipe, and our end of it. It
    never hears the signals `deaf_to`."""
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_deaf, args=(deaf_to, life, *arguments, theirs), name=name)
    with theirs, starting_deaf(deaf_to):
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
    return process, ours


def _deaf(deaf_to: set[signal.Signals], life: Callable[..., None], *arguments: object) -> None:
    stay_deaf(deaf_to)
    life(*arguments)
