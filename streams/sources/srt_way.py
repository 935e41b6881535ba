"""SRT with MPEG-TS inside, with or without a passphrase: called by this server, or waited for.

The FFmpeg in PyAV's wheel does not speak SRT, so it is spoken here.
"""

import contextlib
import socket
import threading
from typing import Protocol

from onlooker.core.address import Target
from onlooker.core.clock import Clock
from onlooker.core.network import TooSlow
from onlooker.streams.sources import reasons
from onlooker.streams.sources.listening import Datagrams, ListenAddress
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSpec, srt_options
from onlooker.streams.sources.srt_keys import SrtKeys
from onlooker.streams.sources.srt_receiver import TICK_S, SrtReceiver
from onlooker.streams.sources.way import Access, OneWayFile, Opening

MAX_WAITING_BYTES = 8 << 20
"""Bytes that wait to be decoded; beyond, the sender is not heard until there is room."""

GATHER_S = 0.02
"""How long more is waited for when something has come."""

_BUFFER_BYTES = 4 << 20


class _Port(Protocol):
    """A UDP port that hears one peer."""

    @property
    def is_closed(self) -> bool: ...
    @property
    def limit_s(self) -> float: ...
    def poll(self, timeout_s: float) -> bytes: ...
    def send(self, data: bytes) -> None: ...
    def silence(self, limit_s: float) -> str: ...
    def close(self) -> None: ...


class SrtWay:
    """Opens one SRT stream."""

    is_recorded = False

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._source, self._url, self._access = source, source.url, access
        self._file: SrtFile | None = None

    def open(self) -> Opening:
        port: _Port
        if self._source.is_waited_for:
            port = Datagrams(ListenAddress.of(self._url, self._access.settings), self._access)
        else:
            port = CalledPort(self._access.policy.parse(self._url), self._access)
        receiver = SrtReceiver(
            is_caller=isinstance(port, CalledPort),
            stream_name=_option(self._url, "streamid"),
            keys=self._keys(),
            now_s=self._access.clock.now_s(),
        )
        self._file = SrtFile(port, receiver, self._access)
        return Opening(self._file, format="mpegts")

    def _keys(self) -> SrtKeys | None:
        passphrase = _option(self._url, "passphrase")
        if not passphrase:
            return None
        return SrtKeys(passphrase, num_key_bytes=int(_option(self._url, "pbkeylen") or 0) or 16)

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def fault(self) -> Exception | None:
        return self._file.error if self._file is not None else None

    def explain(self, *, has_begun: bool) -> Exception | None:
        return None


class CalledPort:
    """A UDP port of ours that is connected to a checked address, and hears nobody else."""

    def __init__(self, target: Target, access: Access) -> None:
        """Open the port.

        Raises:
            Forbidden: none of the target's addresses may be connected to.
            SourceLost: its name is not known.
        """
        self._target = target
        settings = access.settings
        self.limit_s = 0.8 * min(settings.read_timeout_s, settings.open_timeout_s)
        self._ended = threading.Event()
        try:
            address = access.lookups.addresses(target.host, target.port)[0]
        except OSError as error:
            raise SourceLost(reasons.of_unreachable(target, error)) from error
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.connect((address, target.port))
        except OSError as error:
            self._socket.close()
            raise SourceLost(reasons.of_unreachable(target, error)) from error

    @property
    def is_closed(self) -> bool:
        return self._ended.is_set()

    def poll(self, timeout_s: float) -> bytes:
        try:
            self._socket.settimeout(timeout_s)
            return self._socket.recv(65536)
        except TimeoutError:
            return b""
        except ConnectionRefusedError as error:
            raise SourceLost(reasons.of_unreachable(self._target, error)) from error
        except OSError:
            self.close()
            return b""

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # as lost as any other datagram may be
            self._socket.send(data)

    def silence(self, limit_s: float) -> str:
        return (
            f"no SRT came from {self._target.host} port {self._target.port} for {limit_s:g} s: "
            "check address and port, and that it listens; a firewall may be in between"
        )

    def close(self) -> None:
        self._ended.set()
        self._socket.close()


class SrtFile(OneWayFile):
    """What comes over SRT as one file, as FFmpeg reads it. `error` keeps what went wrong.

    A thread of its own answers the sender, who would slow down while a picture is decoded.
    """

    def __init__(self, port: _Port, receiver: SrtReceiver, access: Access) -> None:
        self._port, self._receiver = port, receiver
        self._clock: Clock = access.clock
        self._lost = access.metrics.source_packets_dropped.labels(why="lost")
        self._budget, self._timeout_s = access.budget, access.settings.read_timeout_s
        self._waiting = bytearray()
        self._changed = threading.Condition()
        self._has_ended = False
        self.error: Exception | None = None
        threading.Thread(target=self._run, name="source srt", daemon=True).start()

    def read(self, num_bytes: int = 65536) -> bytes:
        with self._changed:
            while not self._waiting and not self._has_ended:
                self._changed.wait()
            # Each read wakes a process, and a packet is but a kilobyte.
            self._changed.wait_for(
                lambda: self._has_ended or len(self._waiting) >= num_bytes, GATHER_S
            )
            piece = bytes(self._waiting[:num_bytes])
            del self._waiting[:num_bytes]
            self._changed.notify_all()
        return piece

    def close(self) -> None:
        """End the connection. From any thread, any number of times."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._receive()
        except (SourceBroken, SourceLost, TooSlow) as error:
            self.error = error
        finally:
            self._lost.inc(self._receiver.num_lost)
            if self._receiver.is_connected:
                self._port.send(self._receiver.goodbye(self._clock.now_s()))
            self._port.close()
            self.close()

    def _receive(self) -> None:
        receiver, port, clock = self._receiver, self._port, self._clock
        heard_at_s = ticked_at_s = clock.now_s()
        while not self._has_ended and not port.is_closed:
            if clock.now_s() - ticked_at_s >= TICK_S or not receiver.is_connected:
                ticked_at_s = clock.now_s()
                self._send(receiver.tick(ticked_at_s))
                self._hand_on(receiver.take())
            data, now_s = port.poll(TICK_S), clock.now_s()
            if data:
                self._send(receiver.handle(data, now_s))
            if receiver.refusal is not None:
                raise receiver.refusal
            payload = receiver.take()
            if payload:
                self._budget.receive(len(payload), now_s - heard_at_s)
                heard_at_s = now_s
                self._hand_on(payload)
            limit_s = self._timeout_s if receiver.is_connected else port.limit_s
            if now_s - heard_at_s >= limit_s:
                raise SourceLost(port.silence(limit_s))
            if receiver.has_ended:
                raise SourceLost("the SRT sender ended the stream")

    def _send(self, packets: list[bytes]) -> None:
        for packet in packets:
            self._port.send(packet)

    def _hand_on(self, payload: bytes) -> None:
        with self._changed:
            while len(self._waiting) > MAX_WAITING_BYTES and not self._has_ended:
                self._changed.wait(TICK_S)
            self._waiting += payload
            self._changed.notify_all()


def _option(url: str, name: str) -> str:
    return srt_options(url).get(name, "")
