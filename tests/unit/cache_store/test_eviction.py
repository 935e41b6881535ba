from collections.abc import Callable

import pytest

from onlooker.cache_store.eviction import AgeAware, EvictionPolicy, Lru
from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey
from tests.unit.cache_store.factories import make_key

OTHER = StreamKey("model-a", "tenant-a", "camera-2")
SINK = make_key(0, kind=SegmentKind.SINK)
TEXT = make_key(0, kind=SegmentKind.TEXT)


def filled(policy: EvictionPolicy, keys: list[SegmentKey]) -> EvictionPolicy:
    for key in keys:
        policy.added(key, 10)
    return policy


@pytest.mark.parametrize("make", [Lru, AgeAware])
def test_the_first_in_goes_first_when_nothing_was_used(make: Callable[[], EvictionPolicy]) -> None:
    policy = filled(make(), [make_key(index) for index in range(5)])
    assert policy.victims(25) == [make_key(0), make_key(1), make_key(2)]


@pytest.mark.parametrize("make", [Lru, AgeAware])
def test_all_records_go_when_they_are_not_enough(make: Callable[[], EvictionPolicy]) -> None:
    policy = filled(make(), [make_key(index) for index in range(4)])
    assert sorted(policy.victims(100)) == [make_key(index) for index in range(4)]


@pytest.mark.parametrize("make", [Lru, AgeAware])
def test_choosing_changes_nothing_and_removal_does(make: Callable[[], EvictionPolicy]) -> None:
    policy = filled(make(), [make_key(index) for index in range(3)])
    assert policy.victims(10) == policy.victims(10) == [make_key(0)]
    policy.removed(make_key(0))
    policy.removed(make_key(0))
    policy.used(make_key(0))
    assert policy.victims(10) == [make_key(1)]


def test_lru_keeps_what_was_used_last() -> None:
    policy = filled(Lru(), [make_key(index) for index in range(3)])
    policy.used(make_key(0))
    assert policy.victims(10) == [make_key(1)]


def test_age_keeps_text_longer_than_clips_and_the_sink_longest() -> None:
    policy = filled(AgeAware(), [SINK, TEXT, make_key(0), make_key(1)])
    assert policy.victims(40) == [make_key(0), make_key(1), TEXT, SINK]


def test_age_keeps_old_clips_that_are_retrieved_again_and_again() -> None:
    policy = filled(AgeAware(), [make_key(index) for index in range(20)])
    for _ in range(30):
        policy.used(make_key(0))
    assert make_key(0) not in policy.victims(190)
    assert policy.victims(10) == [make_key(1)]


def test_age_is_counted_within_each_stream() -> None:
    old_stream = [make_key(index, stream=OTHER) for index in range(2)]
    long_stream = [make_key(index) for index in range(10)]
    policy = filled(AgeAware(), [*old_stream, *long_stream])
    assert policy.victims(60) == long_stream[:6]


def test_with_many_records_a_sample_still_finds_old_clips() -> None:
    keys = [make_key(index) for index in range(2000)]
    policy = filled(AgeAware(seed=1), [SINK, TEXT, *keys])
    victims = policy.victims(1000)
    assert len(set(victims)) == 100
    assert all(key.kind is SegmentKind.CLIP for key in victims)
    mean_index = sum(key.index for key in victims) / len(victims)
    assert mean_index < 200  # by chance it would be 1000


def test_a_stream_that_is_gone_is_forgotten() -> None:
    policy = AgeAware()
    filled(policy, [make_key(1000)])
    policy.removed(make_key(1000))
    filled(policy, [make_key(0), make_key(5, stream=OTHER), make_key(6, stream=OTHER)])
    assert policy.victims(10) == [make_key(5, stream=OTHER)]
