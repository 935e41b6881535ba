"""`Mask`: a part of a stream's pictures that nobody is to see."""

from dataclasses import dataclass
from typing import Literal

from onlooker.core.errors import TooLarge

MaskEffect = Literal["black", "blur"]


@dataclass(frozen=True, slots=True)
class Mask:
    """A polygon that is blacked out or blurred in every picture of a stream."""

    polygon: tuple[tuple[float, float], ...]
    """Corners as (x, y), in shares (0-1) of the width and height of the upright picture, from its
    left upper corner. The last is joined to the first. Lines may cross: what is inside by the
    nonzero or by the even-odd rule is masked, and so is what the lines themselves touch."""
    effect: MaskEffect = "black"
    """``black`` leaves nothing of the part; ``blur`` leaves colours in blocks of about an eighth
    of the picture."""

    def __post_init__(self) -> None:
        if len(self.polygon) < 3:
            raise ValueError(f"a mask has three corners or more; got {len(self.polygon)}")
        for x, y in self.polygon:
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(
                    "a mask's corners are shares of the picture's width and height, from 0 to 1; "
                    f"got ({x}, {y})"
                )
        if self.effect not in ("black", "blur"):
            raise ValueError(f"a mask's effect is 'black' or 'blur', not {self.effect!r}")


def check_masks(masks: tuple[Mask, ...], *, max_masks: int, max_points: int) -> None:
    """Refuse more masks, or corners of one, than a stream takes. Raises `TooLarge`."""
    if len(masks) > max_masks:
        raise TooLarge(
            f"a stream takes {max_masks} masks (setting streams.privacy.max_masks); "
            f"got {len(masks)}",
            param="masks",
        )
    longest = max((len(mask.polygon) for mask in masks), default=0)
    if longest > max_points:
        raise TooLarge(
            f"a mask takes {max_points} corners (setting streams.privacy.max_mask_points); "
            f"got {longest}",
            param="masks",
        )
