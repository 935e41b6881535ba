"""Times as benchmarks write them."""

from onlooker.core.errors import InvalidRequest


def seconds_of(text: str | float) -> float:
    """Seconds of ``"01:02:03"``, ``"02:03"``, ``"3.5"`` or a number.

    Raises:
        InvalidRequest: it is no time.
    """
    if isinstance(text, int | float):
        return float(text)
    total = 0.0
    try:
        for part in text.strip().strip("[]").split(":"):
            total = 60 * total + float(part)
    except ValueError:
        raise InvalidRequest(f"'{text}' is no time: expected HH:MM:SS or seconds") from None
    return total
