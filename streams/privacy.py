"""`StreamPrivacy`: what of one stream nobody is to see, for how long the rest is kept, and what was
deleted of it. It outlives the server where there is a folder for that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onlooker.core.errors import InvalidRequest
from onlooker.streams.config import PrivacySection
from onlooker.streams.forgotten_times import ForgottenTimes, Span
from onlooker.streams.mask_painter import MaskPainter
from onlooker.streams.masks import Mask, check_masks
from onlooker.streams.wall_times import Anchor, WallTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPrivacy:
    """What outlives the server. The fields are those of `StreamPrivacy`."""

    masks: tuple[Mask, ...] = ()
    keep_for_s: float | None = None
    aged_until_s: float | None = None
    """None where nothing was deleted for its age."""
    forgotten: tuple[Span, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    is_live: bool = True
    next_clip_index: int = 0


NOTHING_KEPT = KeptPrivacy()


class StreamPrivacy:
    """One stream's. Changed on the event loop; `painter` and `forgotten` are read by the thread
    that looks at pictures.

    Args:
        settings: the server's masks, which are on every stream, and its limits.
        kept: what an earlier server kept of the stream.
        save: is told what is to be kept, whenever that changes.
    """

    def __init__(
        self,
        settings: PrivacySection | None = None,
        *,
        is_live: bool = True,
        kept: KeptPrivacy = NOTHING_KEPT,
        save: Callable[[KeptPrivacy], None] = lambda kept: None,
    ) -> None:
        self._settings = settings or PrivacySection()
        self._is_live, self._save = is_live, save
        self.masks = kept.masks
        """The stream's own masks, beside those of the server."""
        self._own_keep_for_s = kept.keep_for_s
        aged_until_s = float("-inf") if kept.aged_until_s is None else kept.aged_until_s
        self.forgotten = ForgottenTimes(aged_until_s, kept.forgotten)
        self.wall = WallTimes(is_live=is_live, anchors=kept.anchors)
        self.next_clip_index = kept.next_clip_index
        """Clips of a lower index were given out before the newest deletion: their names are used no
        more, since a tier that could not be reached may still be asked to delete them."""
        self.painter = MaskPainter(self.all_masks)

    @property
    def all_masks(self) -> tuple[Mask, ...]:
        """The stream's own masks and those of the server."""
        return (*self._settings.masks, *self.masks)

    @property
    def keep_for_s(self) -> float | None:
        """How long anything of the stream is kept; None: as long as there is room."""
        limits_s = (self._settings.keep_for_s, self._own_keep_for_s)
        return min((one for one in limits_s if one is not None), default=None)

    def set_masks(self, masks: Sequence[Mask]) -> None:
        """Mask these parts of every picture that is looked at from now on.

        Raises:
            TooLarge: too many masks or corners.
        """
        masks = tuple(masks)
        check_masks(
            masks,
            max_masks=self._settings.max_masks,
            max_points=self._settings.max_mask_points,
        )
        self.masks = masks
        self.painter = MaskPainter(self.all_masks)
        self.save()

    def set_keep_for(self, keep_for_s: float | None) -> None:
        """Keep what the stream remembers for so long from now on; None: as the server does.

        Raises:
            InvalidRequest: longer than the server keeps anything.
        """
        limit_s = self._settings.keep_for_s
        if keep_for_s is not None and limit_s is not None and keep_for_s > limit_s:
            raise InvalidRequest(
                f"this server keeps nothing for longer than {limit_s:g} s (setting "
                f"streams.privacy.keep_for_s); asked for {keep_for_s:g}",
                param="keep_for_s",
            )
        self._own_keep_for_s = keep_for_s
        self.save()

    def note_seen(self, stream_s: float, wall_s: float) -> None:
        """Note the wall time of a clip that the model has seen."""
        if self.wall.note(stream_s, wall_s):
            self.save()

    def note_forgotten(self, start_s: float, end_s: float, next_clip_index: int) -> None:
        """Note that a span is deleted on request."""
        self.forgotten.add(start_s, end_s)
        self.next_clip_index = max(self.next_clip_index, next_clip_index)
        self.save()

    def note_aged(self, until_s: float, next_clip_index: int) -> None:
        """Note that what was captured before `until_s` is deleted because it is old."""
        self.forgotten.age(until_s)
        self.next_clip_index = max(self.next_clip_index, next_clip_index)
        self.save()

    @property
    def forgotten_until_s(self) -> float | None:
        """What was captured before this was deleted because it was old; None where nothing was."""
        until_s = self.forgotten.aged_until_s
        return until_s if until_s > float("-inf") else None

    def aged_at(self, wall_s: float) -> float | None:
        """The stream time before which everything is too old at a wall time; None where nothing is
        known to be."""
        if self.keep_for_s is None:
            return None
        return self.wall.until(wall_s - self.keep_for_s)

    def save(self) -> None:
        """Have everything kept as it is now."""
        kept = KeptPrivacy(
            masks=self.masks,
            keep_for_s=self._own_keep_for_s,
            aged_until_s=self.forgotten_until_s,
            forgotten=self.forgotten.spans,
            anchors=self.wall.anchors,
            is_live=self._is_live,
            next_clip_index=self.next_clip_index,
        )
        self._save(kept)
