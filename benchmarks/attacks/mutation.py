"""Breaking what is sound: bytes and JSON, the same for the same `Random`."""

import copy
import json
import random
from typing import Any

EXTREMES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff" * 8, b"\x00" * 8)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**53, 2**64, 1e308, 0.1, "", "a" * 5_000, "\u0000", "\u202e",
    "\U0001f600" * 50, "../../etc/passwd", [], {}, [[]], [None] * 500, {"type": "ping"},
)  # fmt: skip
"""What a field is replaced by."""
MAX_MUTATIONS = 6


def mutated_bytes(payload: bytes, rng: random.Random) -> bytes:
    """`payload` with one to six places broken; never empty."""
    data = bytearray(payload)
    for _ in range(rng.randint(1, MAX_MUTATIONS)):
        if not data:
            break
        _BREAKS[rng.randrange(len(_BREAKS))](data, rng)
    return bytes(data) or b"\x00"


def mutated_event(event: dict[str, Any], rng: random.Random) -> str | bytes:
    """A client event with a field changed, removed, added or moved, or its text broken."""
    if rng.random() < 0.1:
        return mutated_bytes(json.dumps(event).encode(), rng).decode(errors="replace")
    changed = json.loads(json.dumps(event))
    for _ in range(rng.randint(1, 3)):
        place = _some_object(changed, rng)
        name = rng.choice(sorted(place)) if place else "type"
        match rng.randrange(4):
            case 0:
                place[name] = _value(rng)
            case 1:
                place.pop(name, None)
            case 2:
                place[f"x{rng.randrange(100)}"] = _value(rng)
            case _:
                place[rng.choice(("type", "id", "stream", "item", name))] = place.get(name)
    return json.dumps(changed)


def _value(rng: random.Random) -> Any:
    """One of `VALUES`, as a copy: what is changed in it later must not come again elsewhere, or
    inside of itself."""
    return copy.deepcopy(rng.choice(VALUES))


def _some_object(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """`value`, or an object somewhere inside of it."""
    inner: list[dict[str, Any]] = [value]
    for found in inner:
        for child in found.values():
            children = child if isinstance(child, list) else [child]
            inner += [one for one in children if isinstance(one, dict) and one]
    return rng.choice(inner)


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    extreme = rng.choice(EXTREMES)
    at = rng.randrange(len(data))
    data[at : at + len(extreme)] = extreme


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 64)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 256)]
    data[at:at] = piece * rng.randint(1, 8)


def _scramble(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.randint(1, 32))
    data[at:end] = rng.randbytes(end - at)


_BREAKS = (_flip, _flip, _overwrite, _cut, _remove, _repeat, _scramble)
