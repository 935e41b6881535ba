"""Fetches a recording from an address that the operator allows, to the disk."""

import asyncio
from contextlib import suppress
from pathlib import Path

from onlooker.core.address import AddressPolicy
from onlooker.core.errors import InvalidRequest, TooLarge, UnsupportedMedia
from onlooker.core.network import Lookups
from onlooker.streams.sources.http_file import HttpFetcher
from onlooker.streams.sources.spec import SourceBroken, SourceLost
from onlooker.streams.sources.way import Access

BLOCK_BYTES = 1 << 20


class Unreachable(InvalidRequest):
    """A recording cannot be fetched now; it may be later."""

    code = "unreachable"
    retryable = True


async def check_address(url: str, *, policy: AddressPolicy, lookups: Lookups) -> Path | None:
    """Return the file that `url` names; None where it is to be fetched.

    Raises:
        Forbidden, InvalidRequest: nothing may be imported from there.
    """
    if url.startswith("file:"):
        return await asyncio.to_thread(policy.file, url)
    target = policy.parse(url)
    if target.scheme not in ("http", "https"):
        raise InvalidRequest(
            f"a recording is imported from a file:// or http(s):// address, not {target.scheme}://;"
            " a live source is pulled (POST /v1/streams with a source)",
            param="url",
        )
    with suppress(OSError):  # a name that does not resolve may do so later
        await lookups.find(target.host, target.port)
    return None


async def fetch(url: str, path: Path, access: Access, *, max_bytes: int) -> None:
    """Write what is at `url` to `path`, in a thread.

    Raises:
        Forbidden, InvalidRequest: the address may not be reached.
        TooLarge: it has more than `max_bytes`.
        UnsupportedMedia: there is no such thing.
        Unreachable: it cannot be reached, or broke off.
    """
    fetcher = HttpFetcher(
        access.policy, access.lookups, access.settings, access.clock, access.budget
    )
    work = asyncio.ensure_future(asyncio.to_thread(_fetch, fetcher, url, path, max_bytes))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        fetcher.close()  # reads under way fail
        await asyncio.wait([work])
        raise
    except SourceBroken as error:
        raise UnsupportedMedia(str(error)) from error
    except SourceLost as error:
        raise Unreachable(str(error)) from error
    finally:
        fetcher.close()


def _fetch(fetcher: HttpFetcher, url: str, path: Path, max_bytes: int) -> None:
    body = fetcher.get(url)
    num_bytes = 0
    with path.open("wb") as file:
        while block := body.read(BLOCK_BYTES):
            num_bytes += len(block)
            if num_bytes > max_bytes or (body.num_bytes or 0) > max_bytes:
                raise TooLarge(
                    f"a recording may have {max_bytes} bytes (setting "
                    "streams.imports.max_upload_bytes)"
                )
            file.write(block)
    if body.num_bytes is not None and num_bytes < body.num_bytes:
        raise SourceLost("it broke off")
