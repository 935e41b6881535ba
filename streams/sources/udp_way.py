"""MPEG-TS by UDP, plain or in RTP, to a port of this server or to a multicast group."""

from onlooker.streams.sources.listening import Datagrams, ListenAddress
from onlooker.streams.sources.spec import SourceBroken, SourceSpec
from onlooker.streams.sources.way import Access, OneWayFile, Opening

_SYNC = 0x47
"""The first byte of every packet of MPEG-TS."""

GATHER_S = 0.02
"""How long more is waited for when something has come."""

_RTP_HEAD_BYTES = 12


class UdpWay:
    """Waits at one port for one sender."""

    is_recorded = False

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._where = ListenAddress.of(source.url, access.settings)
        self._access = access
        self._file: TransportFile | None = None

    def open(self) -> Opening:
        self._file = TransportFile(Datagrams(self._where, self._access))
        return Opening(self._file, format="mpegts")

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def fault(self) -> Exception | None:
        return self._file.error if self._file is not None else None

    def explain(self, *, has_begun: bool) -> Exception | None:
        return None


class TransportFile(OneWayFile):
    """The MPEG-TS in datagrams as one file, as FFmpeg reads it. `error` keeps what went wrong."""

    def __init__(self, datagrams: Datagrams) -> None:
        self._datagrams = datagrams
        self._rest = b""
        self._is_transport = False
        self.error: Exception | None = None

    def read(self, num_bytes: int = 65536) -> bytes:
        if self.error is not None:
            return b""  # FFmpeg asks again, and PyAV can keep but one exception
        try:
            while not self._rest:
                data = self._datagrams.receive()
                if not data:
                    return b""
                self._rest = self._transport(data)
            self._gather(num_bytes)
        except Exception as error:
            self.error = error
            raise
        piece, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return piece

    def close(self) -> None:
        self._datagrams.close()

    def _gather(self, num_bytes: int) -> None:
        """Wait a moment for more: each read wakes a process, and a datagram is but a kilobyte."""
        clock = self._datagrams.clock
        until_s = clock.now_s() + GATHER_S
        while len(self._rest) < num_bytes and (left_s := until_s - clock.now_s()) > 0:
            data = self._datagrams.poll(left_s)
            if not data:
                return
            self._rest += self._transport(data)

    def _transport(self, data: bytes) -> bytes:
        """What a datagram holds, without the head of RTP where it has one."""
        if data[0] >> 6 == 2 and len(data) > _RTP_HEAD_BYTES:
            data = data[_RTP_HEAD_BYTES + 4 * (data[0] & 0x0F) :]
        if data[:1] == bytes((_SYNC,)):
            self._is_transport = True
        elif not self._is_transport:
            raise SourceBroken(
                "what comes by UDP is not MPEG-TS: let the sender use it, as ffmpeg does with "
                "-f mpegts"
            )
        return data
