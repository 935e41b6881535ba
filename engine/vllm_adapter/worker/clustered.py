"""`ClusteredRows`: one stream's rows in some layers, searched by likeness where there are many.

New rows wait until some tens can be sorted into clusters at once; what waits is always compared. So
one more row costs little, and never more for a while: also where a stream has just become long
enough to be worth sorting, or is being restored.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onlooker.engine.memory.key_runs import KeyParts, KeyRuns
from onlooker.engine.vllm_adapter.worker.clusters import Clusters, Numbers, Vectors

GetVectors = Callable[[Numbers], tuple[Vectors, NDArray[np.bool_]]]
"""A function that gives the vectors of those of some numbers that are known, and which are."""

_AT_ONCE = 64
"""New rows after which rows are sorted in: twice as many, so that a backlog ends."""

_NUM_SAMPLED = 1024
"""Candidates, spread over their time, by which those are judged that are not compared."""

_SHARE = 16
"""Candidates that are less than one in so many of all rows are compared one by one: a search would
find mostly others."""


class NumberRuns:
    """Places of candidates whose keys differ in their number only.

    Args:
        runs: (first number, count) of each run, in the order of the candidates.
    """

    def __init__(self, runs: list[tuple[int, int]]) -> None:
        firsts, counts = np.asarray(runs, np.int64).reshape(-1, 2).T
        self._ends = np.cumsum(counts)
        order = np.argsort(firsts, kind="stable")
        self._firsts, self._counts = firsts, counts
        self._sorted_firsts, self._order = firsts[order], order

    @classmethod
    def of(cls, keys: KeyRuns) -> tuple[tuple[str, int], "NumberRuns"] | None:
        """What the keys have in common, stem and digits, and their runs; None where they differ in
        more than their numbers."""
        parts = [KeyParts.of(first) for first, _ in keys.runs]
        names = {(one.stem, one.num_digits) for one in parts}
        if len(names) != 1:
            return None
        runs = [(one.number, count) for one, (_, count) in zip(parts, keys.runs, strict=True)]
        return names.pop(), cls(runs)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def contain(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of `numbers` are candidates."""
        run = self._run_of(numbers)
        inside: NDArray[np.bool_] = numbers - self._firsts[run] < self._counts[run]
        return inside & (numbers >= self._firsts[run])

    def places(self, numbers: Numbers) -> Numbers:
        """Places of `numbers`, all of which are candidates."""
        run = self._run_of(numbers)
        return self._ends[run] - self._counts[run] + numbers - self._firsts[run]

    def numbers(self, places: Numbers) -> Numbers:
        """Numbers of the candidates at `places`."""
        run = np.searchsorted(self._ends, places, side="right")
        return self._firsts[run] + places - (self._ends[run] - self._counts[run])

    def _run_of(self, numbers: Numbers) -> Numbers:
        at = np.searchsorted(self._sorted_firsts, numbers, side="right") - 1
        return self._order[np.maximum(at, 0)]


class ClusteredRows:
    """See the module.

    Args:
        min_rows: up to so many rows, or candidates, there is nothing to sort and nothing to search.
    """

    def __init__(self, dims: int, vectors: GetVectors, *, min_rows: int) -> None:
        self._vectors = vectors
        self._min_rows = min_rows
        self._clusters = Clusters(dims, vectors)
        self._waiting: list[int] = []
        self._num_rows = 0
        self._num_added = 0
        """Rows that came since some were last sorted in."""
        self._num_dropped = 0
        """Rows that went since clusters were last swept."""

    @property
    def min_rows(self) -> int:
        """Up to so many candidates are compared one by one."""
        return self._min_rows

    @property
    def num_bytes(self) -> int:
        return self._clusters.num_bytes

    def add(self, number: int) -> None:
        """Know one more row; sorts some in, now and then."""
        self._waiting.append(number)
        self._num_rows += 1
        self._num_added += 1
        if self._num_added >= _AT_ONCE and self._num_rows > self._min_rows:
            self._num_added = 0
            some, self._waiting = self._waiting[: 2 * _AT_ONCE], self._waiting[2 * _AT_ONCE :]
            self._clusters.add(np.asarray(some, np.int64))

    def discard(self) -> None:
        """One row is not known any more."""
        self._num_rows -= 1
        self._num_dropped += 1
        if self._num_dropped > max(_NUM_SAMPLED, self._num_rows // 2):
            self._num_dropped = 0
            self._clusters.sweep()
            waiting = np.asarray(self._waiting, np.int64)
            self._waiting = waiting[self._vectors(waiting)[1]].tolist()

    def is_worth_it(self, num_candidates: int) -> bool:
        """Whether so many candidates are better searched than compared one by one."""
        return num_candidates > max(self._min_rows, self._num_rows // _SHARE)

    def sample(self, runs: NumberRuns) -> tuple[Numbers, Vectors]:
        """Candidates that are spread over all: their places and vectors."""
        count = min(len(runs), _NUM_SAMPLED)
        places = np.linspace(0, len(runs) - 1, count).astype(np.int64)
        vectors, is_known = self._vectors(runs.numbers(places))
        return places[is_known], vectors

    def search(self, runs: NumberRuns, query: Vectors, count: int) -> tuple[Numbers, Vectors, int]:
        """Places and scores, ``query @ vector``, of the `count` best candidates and some more, by
        place; and how many vectors were compared."""
        found = self._clusters.search(query, count, runs.contain)
        waiting = np.asarray(self._waiting, np.int64)
        vectors, is_known = self._vectors(waiting[runs.contain(waiting)])
        numbers = np.concatenate([found.numbers, waiting[runs.contain(waiting)][is_known]])
        scores = np.concatenate([found.scores, vectors @ query])
        places, first = np.unique(runs.places(numbers), return_index=True)
        return places, scores[first], found.num_compared + len(vectors)
