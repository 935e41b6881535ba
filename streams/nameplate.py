"""A stream's nameplate: what people call it and say of it, and a picture of how it usually looks.

The nameplate follows its stream as masks and watches do. It tells a camera from the others, to
people in listings and to the model in prompts.
"""

import base64
import binascii
import json
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.streams.belongings import NAMEPLATE, REFERENCE, Belongings
from onlooker.streams.config import NameplatesSection

_log = logging.getLogger("onlooker.streams.nameplate")

_LABEL = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameplate:
    """What people call a stream and say of it."""

    name: str = ""
    """What people call it, such as "Front door"; empty where nobody said."""
    description: str = ""
    """What it shows and from where, in a sentence or two."""
    labels: tuple[str, ...] = ()
    """Words by which streams are picked, such as ``outside``; in order, none twice."""

    def has_labels(self, wanted: Collection[str]) -> bool:
        """Whether it has all of some labels."""
        return {label.casefold() for label in wanted} <= set(self.labels)

    @property
    def said(self) -> str:
        """What the model is told of it; empty where there is nothing to tell."""
        parts = []
        if self.name:
            parts.append(f'The camera is called "{self.name}".')
        if self.labels:
            parts.append(f"Its labels: {', '.join(self.labels)}.")
        if self.description:
            parts.append(f"About it: {self.description}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameplateChanges:
    """What is to change of a nameplate; None leaves it as it is, and empty takes it away."""

    name: str | None = None
    description: str | None = None
    labels: tuple[str, ...] | None = None

    def on(self, plate: Nameplate, settings: NameplatesSection) -> Nameplate:
        """The changed nameplate.

        Raises:
            InvalidRequest, TooLarge: the message names the field and says what to do.
        """
        if self.name is not None:
            name = _one_line(self.name)
            _check_length("name", name, settings.max_name_chars)
            plate = replace(plate, name=name)
        if self.description is not None:
            description = _one_line(self.description)
            _check_length("description", description, settings.max_description_chars)
            plate = replace(plate, description=description)
        if self.labels is not None:
            plate = replace(plate, labels=checked_labels(self.labels, settings))
        return plate


NO_CHANGES = NameplateChanges()


@dataclass(frozen=True, slots=True)
class ReferencePicture:
    """How a stream's view usually looks."""

    data: bytes
    media_type: str


class NameplateHolder:
    """One stream's nameplate and reference picture, kept with its belongings."""

    def __init__(self, belongings: Belongings, settings: NameplatesSection) -> None:
        self._belongings, self._settings = belongings, settings
        self.on_change: list[Callable[[], None]] = []
        """All are called whenever either has changed."""
        self.plate = _read_plate(belongings.documents.get(NAMEPLATE, b""))
        self.reference = _read_reference(belongings.documents.get(REFERENCE, b""))
        """None where there is none."""

    def begin(self, changes: NameplateChanges) -> None:
        """Take what the stream is opened with; it is kept, and nobody is told. Never waits.

        Raises: what `NameplateChanges.on` does.
        """
        plate = changes.on(self.plate, self._settings)
        if plate != self.plate:
            self.plate = plate
            self._belongings.keep(NAMEPLATE, json.dumps(asdict(plate)).encode())

    async def change(self, changes: NameplateChanges) -> None:
        """Change the nameplate, and return once that would outlive the server.

        Raises:
            Overloaded, ServiceError: it is changed, but not kept.
            what `NameplateChanges.on` does.
        """
        before = self.plate
        self.begin(changes)
        if self.plate != before:
            self._tell()
            await self._belongings.settle("the nameplate")

    async def set_reference(self, picture: ReferencePicture | None) -> None:
        """Have another reference picture, or none, and return once that would outlive the server.

        Raises:
            TooLarge: it has too many bytes.
            Overloaded, ServiceError: it is changed, but not kept.
        """
        limit = self._settings.max_reference_bytes
        if picture is not None and len(picture.data) > limit:
            raise TooLarge(
                f"the reference picture has {len(picture.data)} bytes; {limit} are allowed "
                "(setting streams.nameplates.max_reference_bytes): send a smaller one",
                param="reference",
            )
        self.reference = picture
        self._belongings.keep(REFERENCE, _reference_document(picture))
        self._tell()
        await self._belongings.settle("the reference picture")

    def _tell(self) -> None:
        for tell in self.on_change:
            tell()


def checked_labels(labels: Collection[str], settings: NameplatesSection) -> tuple[str, ...]:
    """Labels as they are kept: in small letters, in order, none twice.

    Raises:
        InvalidRequest, TooLarge: one of them is no label; there are too many.
    """
    found = []
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label) > settings.max_label_chars:
            raise InvalidRequest(
                f"a label is one word of 1 to {settings.max_label_chars} letters, digits, '.', '_' "
                f"or '-', such as 'outside'; got '{label[:80]}'",
                param="labels",
            )
        found.append(label.casefold())
    found = sorted(set(found))
    if len(found) > settings.max_labels:
        raise TooLarge(
            f"{len(found)} labels are too many; {settings.max_labels} are allowed (setting "
            "streams.nameplates.max_labels)",
            param="labels",
        )
    return tuple(found)


def _one_line(text: str) -> str:
    """Text without line ends and other control characters, which belong in no name."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _check_length(param: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise TooLarge(
            f"'{param}' has {len(text)} characters; {limit} are allowed (setting "
            f"streams.nameplates.max_{param}_chars): say it more briefly",
            param=param,
        )


# ---- how they are written down

_PLATE = TypeAdapter(Nameplate)


def _read_plate(content: bytes) -> Nameplate:
    """What a document says. One that cannot be read is no reason not to open a stream."""
    if not content:
        return Nameplate()
    try:
        return _PLATE.validate_json(content)
    except ValidationError as error:
        _log.warning("a kept nameplate cannot be read", extra={"detail": str(error)})
        return Nameplate()


def _reference_document(picture: ReferencePicture | None) -> bytes:
    if picture is None:
        return b""
    data = base64.b64encode(picture.data).decode()
    return json.dumps({"media_type": picture.media_type, "data": data}).encode()


def _read_reference(content: bytes) -> ReferencePicture | None:
    if not content:
        return None
    try:
        kept = json.loads(content)
        return ReferencePicture(base64.b64decode(kept["data"]), str(kept["media_type"]))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        _log.warning("a kept reference picture cannot be read", extra={"detail": repr(error)})
        return None
