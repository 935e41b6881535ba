"""How the privacy of a stream is written down, and read again by its next owner."""

import logging

from pydantic import TypeAdapter, ValidationError

from onlooker.core.errors import ServiceError
from onlooker.streams.privacy import KeptPrivacy

_log = logging.getLogger("onlooker.streams.privacy")

_KEPT = TypeAdapter(KeptPrivacy)


def privacy_document(kept: KeptPrivacy) -> bytes:
    """The document of a stream's privacy."""
    return _KEPT.dump_json(kept)


def read_privacy(content: bytes) -> KeptPrivacy | None:
    """What a document says; None where there is none, as it is empty.

    Raises:
        ServiceError: it cannot be read. What it says may be a mask, so no stream goes on without.
    """
    if not content:
        return None
    try:
        return _KEPT.validate_json(content)
    except ValidationError as error:
        _log.error("a stream's masks and retention cannot be read", extra={"detail": str(error)})
        raise ServiceError(
            "the stream is not opened, since its masks and retention cannot be read: the document "
            "'privacy' of the stream must be repaired or deleted"
        ) from error
