"""What the entropy coded form of KV saves, and what it refuses."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.codecs.cachegen import GROUP, CacheGenCodec, Levels
from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.envelope import EncodedRecord, decode, encode, seal, unseal
from onlooker.cache_store.errors import RecordCorrupt
from onlooker.cache_store.loads import LoadResult
from onlooker.cache_store.lookup import lookup
from onlooker.cache_store.tier import Fetch, FetchOutcome
from tests.unit.cache_store.factories import make_key, make_record, random_kv

SHAPE = (6, 2, 2, 32, 16)
CODEC = CacheGenCodec()


def alike_kv(noise: float) -> NDArray[np.float32]:
    """KV in which tokens that follow each other are alike, but for some noise."""
    random = np.random.default_rng(5)
    drift = np.cumsum(random.normal(scale=0.02, size=SHAPE), axis=3) + random.normal(
        size=(*SHAPE[:3], 1, SHAPE[4])
    )
    return (drift + noise * random.normal(size=SHAPE)).astype(np.float32)


def errors(kv: NDArray[np.float32], codec: CacheGenCodec = CODEC) -> NDArray[np.float32]:
    """The mean error of keys and values of each layer, [layers, 2]."""
    found = codec.decode(view(codec.encode(kv, "float32")), "float32", kv.shape)
    mean: NDArray[np.float32] = np.abs(found - kv).mean((2, 3, 4))
    return mean


def view(payload: Buffer) -> memoryview:
    return memoryview(payload).cast("B")


def test_tokens_that_are_alike_are_nearer_to_what_they_were_at_the_same_size() -> None:
    alike, unlike = alike_kv(0.05), random_kv(1, SHAPE, "float32")
    sizes = [view(CODEC.encode(kv, "float32")).nbytes for kv in (alike, unlike)]
    assert sizes[0] < 1.4 * sizes[1]
    assert errors(alike).mean() < errors(unlike).mean() / 5


def test_where_tokens_are_not_alike_there_are_no_anchors() -> None:
    payload = view(CODEC.encode(np.random.default_rng(2).normal(size=SHAPE), "float32"))
    start = 2 * 6 * 2 * 2
    assert not any(payload[start : start + 12])
    alike = view(CODEC.encode(alike_kv(0.05), "float32"))
    assert all(alike[start : start + 12])


def test_early_layers_are_kept_finer_where_levels_say_so() -> None:
    kv = random_kv(3, SHAPE, "float32")
    error = errors(kv, CacheGenCodec(Levels(keys=(0.2, 0.6, 1.8), values=(0.4, 0.4, 0.4))))
    early, middle, late = error[:, 0].reshape(3, 2)
    assert early.max() < middle.min() / 2 < late.min() / 4
    assert np.ptp(error[:, 1]) < error[:, 1].mean() / 4


def test_what_was_written_with_other_levels_is_read_all_the_same() -> None:
    kv = random_kv(4, SHAPE, "float32")
    payload = view(CacheGenCodec(Levels((0.1,) * 3, (0.1,) * 3)).encode(kv, "float32"))
    assert np.abs(CODEC.decode(payload, "float32", SHAPE) - kv).max() < 0.1


@pytest.mark.parametrize("num_tokens", [1, 2, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP])
def test_any_number_of_tokens_is_kept(num_tokens: int) -> None:
    kv = alike_kv(0.05)[:, :, :, :num_tokens]
    assert errors(np.ascontiguousarray(kv)).max() < 0.5


def test_a_group_whose_anchor_is_large_is_kept_as_well_as_others() -> None:
    kv = alike_kv(0.05)
    kv[:, 0] += 50_000
    assert errors(kv).max() < 2


# ---- what is refused


def forged(payload: bytes) -> EncodedRecord:
    """A record with a right checksum whose KV is `payload`."""
    whole = encode(make_record(1, kv=random_kv(1, SHAPE, "float32")), CODECS["cachegen"])
    return replace(whole, payload=memoryview(payload))


def parts() -> tuple[bytes, bytes]:
    """What stands before the Huffman code, and what is coded."""
    payload = bytes(view(CODEC.encode(random_kv(1, SHAPE, "float32"), "float32")))
    fixed = 6 * 2 * (2 * 2 + 1)
    return payload[:fixed], zlib.decompress(payload[fixed:], -15)


def packed(symbols: bytes) -> bytes:
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(symbols) + coder.flush()


def test_a_bomb_is_refused_by_its_size_before_anything_is_made_of_it() -> None:
    fixed, symbols = parts()
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = coder.compress(bytes(len(symbols))) + coder.flush()
    data = b"".join(seal(forged(fixed + bomb)))
    with pytest.raises(RecordCorrupt, match="as long as its shape"):
        unseal(data, make_key(1))


def test_a_payload_of_any_size_but_its_own_is_refused() -> None:
    fixed, symbols = parts()
    for changed in (symbols[:-1], symbols + b"\0", symbols * 2):
        with pytest.raises(RecordCorrupt, match="another length"):
            decode(forged(fixed + packed(changed)))


def test_a_payload_with_something_behind_it_or_without_its_end_is_refused() -> None:
    fixed, symbols = parts()
    code = packed(symbols)
    for changed in (code + b"\0", code[:-1], code[: len(code) // 2], b""):
        with pytest.raises(RecordCorrupt):
            decode(forged(fixed + changed))


def test_a_payload_that_is_damaged_behind_its_last_symbol_is_refused() -> None:
    fixed, symbols = parts()
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    code = coder.compress(symbols + b"\0") + coder.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(RecordCorrupt, match="damaged"):
        decode(forged(fixed + code + b"\x07"))  # a block of a kind that there is not


@pytest.mark.parametrize("step", [np.nan, np.inf, -1.0, 0.0])
def test_steps_that_make_no_sense_are_refused(step: float) -> None:
    fixed, symbols = parts()
    changed = np.array([step], "<f2").tobytes() + fixed[2:]
    with pytest.raises(RecordCorrupt, match="no sense"):
        decode(forged(changed + packed(symbols)))


def test_shifts_that_make_no_sense_are_refused() -> None:
    fixed, symbols = parts()
    with pytest.raises(RecordCorrupt, match="no sense"):
        decode(forged(fixed + packed(b"\xff" + symbols[1:])))


def test_a_record_whose_kv_cannot_be_decoded_is_a_miss() -> None:
    found = lookup(
        make_key(1), LoadResult(Fetch(FetchOutcome.HIT, forged(parts()[0])), tier="redis")
    )
    assert (found.outcome, found.record, found.tier) == (FetchOutcome.CORRUPT, None, None)
