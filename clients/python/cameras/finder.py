"""Finds cameras and asks each of them, all within one limit of time."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx

from onlooker.clients.python.cameras.device import OnvifCamera
from onlooker.clients.python.cameras.found import CameraTrouble, FoundCamera
from onlooker.clients.python.cameras.probing import CameraProbe, ProbeAnswer
from onlooker.clients.python.cameras.soap import CameraLogin
from onlooker.core.clock import Clock
from onlooker.core.errors import InvalidRequest

MAX_CAMERAS = 250
"""The most that are asked."""

MAX_AT_A_TIME = 16

LISTEN_SHARE, MAX_LISTEN_S = 0.5, 4.0
"""How much of the time goes by with listening for answers, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What `onlooker cameras` is to do."""

    addresses: tuple[str, ...] = ()
    """Cameras that are asked without a search: hosts, with a port where it is not 80, or URLs of
    their device services."""
    interface: str | None = None
    login: CameraLogin | None = None
    timeout_s: float = 10.0
    """Seconds in all."""
    trusts_all: bool = False
    """Whether certificates are not checked."""


class CameraFinder:
    """One search."""

    def __init__(self, plan: SearchPlan, clock: Clock, *, probe: CameraProbe | None = None) -> None:
        """`probe`: asks the network; one on another port in tests.

        Raises:
            InvalidRequest: an address or the interface makes no sense.
        """
        self._plan, self._clock = plan, clock
        self._named = [_named(address) for address in plan.addresses]
        self._probe = probe
        if not self._named and probe is None:
            self._probe = CameraProbe(interface=plan.interface, clock=clock)
        self._turns = asyncio.Semaphore(MAX_AT_A_TIME)
        self._cameras: dict[str, FoundCamera] = {}
        self.num_passed_over = 0
        """Cameras beyond `MAX_CAMERAS`."""

    @property
    def listen_s(self) -> float:
        """How long answers are listened for."""
        return min(MAX_LISTEN_S, LISTEN_SHARE * self._plan.timeout_s)

    @property
    def has_asked(self) -> bool:
        """Whether a question could be sent into any network."""
        return self._probe is None or self._probe.num_sent > 0

    async def cameras(self) -> list[FoundCamera]:
        """All cameras that were found, or were named; by address."""
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(self._plan.timeout_s),
                httpx.AsyncClient(
                    verify=not self._plan.trusts_all,
                    trust_env=False,  # no proxy reaches a camera
                    timeout=self._plan.timeout_s,
                    limits=httpx.Limits(max_connections=4 * MAX_AT_A_TIME),
                ) as http,
                asyncio.TaskGroup() as asking,
            ):
                for answer in self._named:
                    self._begin(answer, http, asking)
                if not self._named and self._probe is not None:
                    async for answer in self._probe.answers(self.listen_s):
                        self._begin(answer, http, asking)
        return sorted(self._cameras.values(), key=lambda camera: (camera.host, camera.service_url))

    def _begin(
        self, answer: ProbeAnswer, http: httpx.AsyncClient, asking: asyncio.TaskGroup
    ) -> None:
        if len(self._cameras) >= MAX_CAMERAS:
            self.num_passed_over += 1
            return
        self._cameras[answer.service_url] = FoundCamera(
            answer.name,
            answer.host,
            answer.service_url,
            problem=f"it did not answer within {self._plan.timeout_s:g} s: try a longer --timeout",
            notes=answer.notes,
        )
        asking.create_task(self._ask(self._cameras[answer.service_url], http))

    async def _ask(self, found: FoundCamera, http: httpx.AsyncClient) -> None:
        url, login = found.service_url, self._plan.login
        camera = OnvifCamera(http, url, login=login, clock=self._clock)
        async with self._turns:
            try:
                streams, problem = tuple(await camera.streams()), ""
            except CameraTrouble as error:
                streams, problem = (), str(error)
            found = replace(
                found, streams=streams, problem=problem, notes=(*found.notes, *camera.notes)
            )
            self._cameras[url] = found
            if streams and not found.name:
                self._cameras[url] = replace(found, name=await camera.name())


def _named(address: str) -> ProbeAnswer:
    """A camera that is asked for by its address."""
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None:
        raise InvalidRequest(
            f"'{address}' is no address of a camera: give a host such as 192.168.1.20, with :PORT "
            "where it is not 80, or the http:// address of its ONVIF service (a login goes into "
            "--user and --password)"
        )
    if parts.path in ("", "/"):
        url = f"{parts.scheme}://{parts.netloc}/onvif/device_service"
    return ProbeAnswer(host, url, "")
