"""The search finds the largest load that holds, with few trials."""

import pytest

from onlooker.benchmarks.search import most


async def searched(capacity: int, start: int, *, limit: int = 768) -> tuple[int, int]:
    tried = []

    async def holds(number: int) -> bool:
        tried.append(number)
        return number <= capacity

    found = await most(holds, start, limit, most_trials=12)
    assert len(tried) == len(set(tried))
    return found, len(tried)


@pytest.mark.parametrize("capacity", [1, 2, 5, 17, 60, 176, 300, 700])
@pytest.mark.parametrize("start", [1, 90, 240])
async def test_it_comes_close_from_any_start(capacity: int, start: int) -> None:
    found, _ = await searched(capacity, start)
    if start <= 4 * capacity and capacity <= 16 * start:
        assert capacity * 15 / 16 - 1 <= found <= capacity


async def test_a_good_prediction_takes_few_trials() -> None:
    found, num_trials = await searched(260, 240)
    assert 244 <= found <= 260
    assert num_trials <= 5


async def test_nothing_holds_and_everything_holds() -> None:
    assert (await searched(0, 240))[0] == 0
    assert (await searched(9999, 240))[0] == 768
