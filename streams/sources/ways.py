"""Which way leads to a source: one for each kind of address."""

from onlooker.streams.sources.file_way import FileWay
from onlooker.streams.sources.rtmp_way import RtmpWay
from onlooker.streams.sources.rtsp_way import RtspWay
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.sources.srt_way import SrtWay
from onlooker.streams.sources.udp_way import UdpWay
from onlooker.streams.sources.way import Access, SourceWay
from onlooker.streams.sources.web_way import WebWay


def way_to(source: SourceSpec, access: Access) -> SourceWay:
    """The way to `source`, whose address has been checked."""
    match source.scheme:
        case "file":
            return FileWay(source, access)
        case "rtsp" | "rtsps":
            return RtspWay(source, access)
        case "rtmp" | "rtmps":
            return RtmpWay(source, access)
        case "udp":
            return UdpWay(source, access)
        case "srt":
            return SrtWay(source, access)
        case _:
            return WebWay(source, access)
