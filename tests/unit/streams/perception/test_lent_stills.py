"""Stills that were decoded and compared elsewhere, and whose pixels are lent."""

import numpy as np

from onlooker.core.ids import StreamId
from onlooker.core.media import Codec, EncodedFrame, FrameOutcome, Pixels
from onlooker.streams.config import StreamsSection
from onlooker.streams.masks import Mask
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.decoders import LentPicture
from onlooker.streams.perception.gate import resemblance, thumbnail
from onlooker.streams.perception.perceiver import Decoded, Perceiver
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.privacy import StreamPrivacy
from onlooker.streams.state import StreamOptions, StreamTerms
from tests.fakes.decoders import LocalDecoders
from tests.fakes.pictures import make_pixels

LEFT_HALF = Mask(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))


def make_perceiver(privacy: StreamPrivacy) -> Perceiver:
    settings = StreamsSection()
    terms = StreamTerms.of(StreamId("t/s"), StreamOptions(), settings)
    decoders = LocalDecoders()
    return Perceiver(terms, settings, decoders=decoders, width=64, height=48, privacy=privacy)


def message(capture_s: float = 0.0) -> EncodedFrame:
    return EncodedFrame(0, capture_s, Codec.JPEG, b"", 0.0)


def lent(perceiver: Perceiver, pixels: Pixels) -> LentPicture:
    return LentPicture(pixels, resemblance(thumbnail(pixels), perceiver.before))


def test_the_thumbnail_of_a_lent_still_does_not_hold_its_pixels() -> None:
    perceiver = make_perceiver(StreamPrivacy())
    still = lent(perceiver, make_pixels("red", width=64, height=48))
    seen = perceiver.see_still(message(), still)
    assert seen.outcome is FrameOutcome.KEPT
    assert seen.kept[0].frame.pixels is still.pixels  # nobody else has them
    assert perceiver.before.previous is not None
    assert not np.shares_memory(perceiver.before.previous, still.resemblance.thumbnail)


def test_a_lent_still_that_is_like_the_last_is_skipped() -> None:
    perceiver = make_perceiver(StreamPrivacy())
    pixels = make_pixels("red", width=64, height=48)
    first, second, third = (
        perceiver.see_still(message(at_s), lent(perceiver, pixels)) for at_s in (0.0, 0.1, 0.2)
    )
    assert (first.outcome, second.outcome) == (FrameOutcome.KEPT, FrameOutcome.KEPT)  # one clip
    assert third.outcome is FrameOutcome.SKIPPED


def test_a_picture_of_coded_video_that_is_like_the_last_is_skipped_without_its_pixels() -> None:
    perceiver = make_perceiver(StreamPrivacy())
    pixels = make_pixels("red", width=64, height=48)
    seen = thumbnail(pixels)
    outcomes = []
    for at_s in (0.0, 0.1, 0.2):
        told = pixels if at_s < 0.2 else None
        picture = Picture(at_s, told, seen, resemblance(seen, perceiver.before))
        decoded = Decoded([picture], Picker(Sampler(0.1), None))
        outcomes.append(perceiver.see_decoded(message(at_s), decoded).outcome)
    assert outcomes == [FrameOutcome.KEPT, FrameOutcome.KEPT, FrameOutcome.SKIPPED]
    assert perceiver.newest_s == 0.2


def test_a_mask_that_came_while_a_still_was_compared_is_painted_before_it_is_kept() -> None:
    privacy = StreamPrivacy()
    perceiver = make_perceiver(privacy)
    still = lent(perceiver, make_pixels("red", width=64, height=48))
    privacy.set_masks([LEFT_HALF])
    assert not perceiver.is_light
    seen = perceiver.see_still(message(), still)
    assert not seen.kept[0].frame.pixels[:, :32].any()
    assert seen.kept[0].is_masked
    assert perceiver.before.kept is not None
    assert not np.array_equal(perceiver.before.kept, still.resemblance.thumbnail)
