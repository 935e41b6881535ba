"""Which options go with which kind of source."""

from urllib.parse import urlsplit

from onlooker.core.errors import InvalidRequest
from onlooker.streams.source_config import SourcesSection
from onlooker.streams.sources.spec import SourceSpec, srt_options
from onlooker.streams.sources.srt_keys import (
    KEY_BYTES,
    MAX_PASSPHRASE_BYTES,
    MIN_PASSPHRASE_BYTES,
)


def check_options(source: SourceSpec, settings: SourcesSection) -> None:
    """Refuse options that would have no effect, rather than ignore them.

    Raises:
        InvalidRequest: an option does not go with the address, or is out of bounds.
    """
    scheme = source.scheme
    if source.transport is not None and scheme not in ("rtsp", "rtsps"):
        raise InvalidRequest(
            f"'transport' is for rtsp:// sources; leave it out for {scheme}", param="transport"
        )
    if source.transport == "udp" and scheme == "rtsps":
        raise InvalidRequest(
            "packets by UDP would not be encrypted: use rtsp:// or transport tcp", param="transport"
        )
    if source.loop and not source.has_files:
        raise InvalidRequest(
            f"'loop' is for files; a {scheme} source goes on by itself", param="loop"
        )
    if source.nominal_fps is not None and (not source.has_files or source.every_s is not None):
        raise InvalidRequest(
            "'nominal_fps' is for files without times, such as raw H.264; other sources say when "
            "their pictures were taken, or are live",
            param="nominal_fps",
        )
    if scheme == "srt":
        _check_srt(source.url)
    if source.every_s is None:
        return
    if scheme not in ("http", "https"):
        raise InvalidRequest(
            "'every_s' is for a picture at an http(s):// address, which is fetched again and again",
            param="every_s",
        )
    if source.every_s < settings.min_every_s:
        raise InvalidRequest(
            f"a picture is fetched every {settings.min_every_s:g} s at most (setting "
            "streams.sources.min_every_s)",
            param="every_s",
        )


def _check_srt(url: str) -> None:
    try:
        port = urlsplit(url).port
    except ValueError:
        return  # told as malformed by who takes the address apart
    options = srt_options(url)
    passphrase = options.get("passphrase")
    if passphrase is not None and not (
        MIN_PASSPHRASE_BYTES <= len(passphrase.encode()) <= MAX_PASSPHRASE_BYTES
    ):
        raise InvalidRequest(
            f"the passphrase of an srt:// source has {MIN_PASSPHRASE_BYTES} to "
            f"{MAX_PASSPHRASE_BYTES} characters, as SRT demands (percent-encode others than "
            "letters and digits)",
            param="url",
        )
    if options.get("pbkeylen", "0") not in ("0", *map(str, KEY_BYTES)):
        raise InvalidRequest(
            "the pbkeylen of an srt:// source is 16, 24 or 32 (bytes of the key)", param="url"
        )
    if options.get("mode", "caller") not in ("caller", "listener"):
        raise InvalidRequest("the mode of an srt:// source is caller or listener", param="url")
    if port is None:
        raise InvalidRequest("an srt:// source's URL names no port", param="url")
