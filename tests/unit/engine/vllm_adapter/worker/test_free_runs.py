"""Parts of a piece of memory are given away and come back."""

import threading

from onlooker.engine.vllm_adapter.worker.free_runs import FreeRuns


class _Collecting(int):
    """A count of numbers during whose comparison Python collects garbage: a run comes back."""

    runs: FreeRuns

    def __le__(self, other: int) -> bool:
        self.runs.let_go(0, 4)
        return int(self) <= other


def test_runs_that_came_back_are_given_away_again_as_one() -> None:
    runs = FreeRuns(0, 8)
    assert [runs.take(4), runs.take(4), runs.take(1)] == [0, 4, None]
    runs.let_go(4, 4)
    runs.let_go(0, 4)
    assert runs.num_free == 8
    assert runs.take(8) == 0


def test_a_run_may_come_back_while_the_same_thread_takes_another() -> None:
    runs = FreeRuns(0, 8)
    assert runs.take(4) == 0
    count = _Collecting(4)
    count.runs = runs
    found: list[int | None] = []
    taking = threading.Thread(target=lambda: found.append(runs.take(count)), daemon=True)
    taking.start()
    taking.join(5)
    assert found == [4], "nobody waits for oneself"
    assert runs.take(4) == 0
