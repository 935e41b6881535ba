"""JSON from strangers: the work that a text makes is bounded before anything is built from it.

The parser is fast and cannot be interrupted, so what it is given is looked at first, in pieces. A
large text is one that carries pictures, and base64 has no commas, brackets or blanks: counting
these bounds values, escapes and blanks at the speed of memory.
"""

import asyncio
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from onlooker.core.errors import TooLarge

_PIECE_BYTES = 64 << 10
_TURN_BYTES = 8 * _PIECE_BYTES
"""Bytes that are looked at before others get their turn; about a millisecond of work."""

_LETTERS = (string.ascii_letters + string.digits + "+/=").encode()
_KINDS = bytes.maketrans(b"0123456789,[{", b"0000000000,,,")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLimits:
    """How much one text may make of itself."""

    max_values: int = 20_000
    """Numbers, texts, objects and lists. Commas inside of texts count too, for what is inside is
    not known yet."""
    max_fields: int = 256
    """Fields of one object."""
    max_depth: int = 32
    """Objects and lists inside each other."""
    max_digits: int = 256
    """Digits in a row outside of texts. Reading such a number takes work that grows with its
    square."""
    max_marks: int = 512 << 10
    """Bytes other than the letters of base64: punctuation, blanks, escapes, other scripts."""


class TooComplex(TooLarge):
    """A text that would be too much work for its size."""

    code = "too_complex"


def num_marks(text: str | bytes) -> int:
    """Bytes of a JSON text that count towards `JsonLimits.max_marks`."""
    return len(_as_bytes(text).translate(None, _LETTERS))


def read_json(text: str | bytes, limits: JsonLimits) -> Any:
    """Return what a JSON text says.

    Raises:
        TooComplex: over one of the limits.
        ValueError: not JSON, or with lone surrogates or numbers that are none.
    """
    data = _as_bytes(text)
    shape = _Shape(limits)
    for _ in shape.turns(data):
        pass
    return shape.checked(from_json(data, allow_inf_nan=False))


async def read_json_in_turns(text: str | bytes, limits: JsonLimits) -> Any:
    """As `read_json`; while a large text is looked at, others get their turns."""
    data = _as_bytes(text)
    shape = _Shape(limits)
    for _ in shape.turns(data):
        await asyncio.sleep(0)
    return shape.checked(from_json(data, allow_inf_nan=False))


def _as_bytes(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return data.removeprefix(_BYTE_ORDER_MARK)


class _Shape:
    """What is known of one text."""

    def __init__(self, limits: JsonLimits) -> None:
        self._limits = limits
        self._num_values = 1
        self._num_marks = 0
        self._too_many_digits = b"0" * (limits.max_digits + 1)
        self._long_run = re.compile(rb"[0-9]{%d,}" % (limits.max_digits + 1))
        self._is_in_text = False
        """Whether what was looked at ends inside of a text."""
        self._digits = b""
        """The digits at its end, in which a long number may have begun."""
        self._escape = b""
        """The backslash at its end, of which the next piece says what it escapes."""

    def turns(self, data: bytes) -> Iterator[None]:
        """Look at the bytes; yields whenever others should have their turn."""
        for start in range(0, len(data), _PIECE_BYTES):
            if start and start % _TURN_BYTES == 0:
                yield
            piece = data[start : start + _PIECE_BYTES]
            kinds = piece.translate(_KINDS)
            self._num_values += kinds.count(b",")
            self._num_marks += num_marks(piece)
            self._check_counts(has_long_number=self._finds_long_number(piece, kinds))

    def _finds_long_number(self, piece: bytes, kinds: bytes) -> bool:
        """Whether a number is too long in this piece, or ends so in it; digits in texts are none.
        `kinds`: the piece with a zero for every digit."""
        if self._escape or b"\\" in piece:
            piece = self._without_escapes(piece)
            kinds = piece.translate(_KINDS)
        is_in_text = self._is_in_text
        self._is_in_text ^= bool(piece.count(b'"') & 1)
        seen, piece = self._digits, self._digits + piece
        kinds = b"0" * len(seen) + kinds
        num_last = len(kinds) - len(kinds.rstrip(b"0"))
        self._digits = b"0" * min(self._limits.max_digits, num_last)
        if self._too_many_digits not in kinds:
            return False
        looked_at = 0
        for run in self._long_run.finditer(piece):
            is_in_text ^= bool(piece.count(b'"', looked_at, run.start()) & 1)
            looked_at = run.start()
            if not is_in_text:
                return True
        return False

    def _without_escapes(self, piece: bytes) -> bytes:
        """The piece without the quotes and backslashes that are escaped."""
        piece = self._escape + piece
        num_backslashes = len(piece) - len(piece.rstrip(b"\\"))
        self._escape = b"\\" if num_backslashes & 1 else b""
        piece = piece.removesuffix(self._escape) if self._escape else piece
        return piece.replace(b"\\\\", b"").replace(b'\\"', b"")

    def checked(self, value: Any) -> Any:
        """Return what was parsed, if no object is too wide and nothing too deep."""
        limits = self._limits
        if self._num_values <= min(limits.max_fields, limits.max_depth):
            return value  # so few values can be neither
        level, depth = [value], 0
        while level:
            inner: list[Any] = []
            is_nested = False
            for outer in level:
                if isinstance(outer, dict):
                    if len(outer) > limits.max_fields:
                        raise TooComplex(
                            f"an object has {len(outer)} fields; {limits.max_fields} are taken "
                            "(setting server.max_json_fields)"
                        )
                    inner.extend(outer.values())
                elif isinstance(outer, list):
                    inner.extend(outer)
                else:
                    continue
                is_nested = True
            depth += is_nested
            if depth > limits.max_depth:
                raise TooComplex(
                    f"the JSON is nested more than {limits.max_depth} deep (setting "
                    "server.max_json_depth)"
                )
            level = inner
        return value

    def _check_counts(self, *, has_long_number: bool) -> None:
        limits = self._limits
        if self._num_values > limits.max_values:
            raise TooComplex(
                f"the JSON has more than {limits.max_values} values, or commas in its texts "
                "(setting server.max_json_values)"
            )
        if has_long_number:
            raise TooComplex(
                f"the JSON has more than {limits.max_digits} digits in a row (setting "
                "server.max_json_digits)"
            )
        if self._num_marks > limits.max_marks:
            raise TooComplex(
                f"the JSON has more than {limits.max_marks} bytes besides the letters of its "
                "pictures (setting server.max_json_marks)"
            )
