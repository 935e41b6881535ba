"""`Clusters`: the rows of one stream by likeness, so that the best of a week of clips are found
without a look at each.

A cluster is a *center*, a *pivot* (the member that lay farthest from the center) and a *radius*:
every member is at most so far from one of the two. A question's score of a member can exceed that
of the nearer of the two by the radius times the length of the question's vector, and hardly ever
does by more than a fraction of that, since what sets the members of a cluster apart is mostly
noise, in directions that have nothing to do with the question. How large the fraction is, is
measured for every question: on the members of clusters from everywhere and of the most promising
ones, then taken half as much again. So a search looks at the centers, and compares the members of
those clusters only that may hold one of the best.

Where nothing is alike, every cluster may hold one of the best, and the search compares all.

A row is added to the cluster that lies nearest; a full cluster is split in two. A row that is
unlike all others begins a cluster of its own, so that a rare thing is not hidden among common ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Rows' vectors, [rows, dims]."""

Numbers = NDArray[np.int64]
"""Numbers that rows are known by."""

Scalar = TypeVar("Scalar", bound=np.generic)

MAX_MEMBERS = 64
"""The most rows of a cluster."""

_FEWEST = 16
"""There is at most one cluster for so many rows, but for the first few clusters."""

_FAR = 1.5
"""A row that is so many mean radii away from the nearest cluster is unlike all others."""

_NUM_SAMPLED = 48
"""Clusters, spread over all, whose members tell how far scores exceed those of centers."""

_MARGIN = 1.5
"""By how much more a score may exceed a center's than any that was measured."""

_FIRST_BATCH = 64
"""Clusters that are compared at once at first; then twice as many each time."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a search has compared: all of the best, and some more."""

    numbers: Numbers
    scores: Vectors
    """Scores of the rows of `numbers`, [rows]."""
    num_compared: int
    """Vectors that were compared: rows, centers and pivots."""


class Clusters:
    """See the module. Rows that were dropped elsewhere are passed over, and leave with time.

    Args:
        dims: dimensions of the rows' vectors.
        vectors: gives the vectors of those of some numbers that are still known, and which these
            are, as a mask.
    """

    def __init__(
        self, dims: int, vectors: Callable[[Numbers], tuple[Vectors, NDArray[np.bool_]]]
    ) -> None:
        self._vectors = vectors
        self._dims = dims
        self._num_clusters = 0
        self._heads: Vectors = np.empty((0, 2, dims), np.float32)
        """Center and pivot of each cluster."""
        self._radii: Vectors = np.empty(0, np.float32)
        self._members: Numbers = np.empty((0, MAX_MEMBERS), np.int64)
        self._counts: Numbers = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._num_clusters

    @property
    def num_bytes(self) -> int:
        """Bytes that are held."""
        held = (self._heads, self._radii, self._members, self._counts)
        return sum(array.nbytes for array in held)

    @staticmethod
    def row_bytes(dims: int) -> int:
        """The most bytes that one more row can take."""
        cluster = 4 * (2 * dims + 1) + 8 * (MAX_MEMBERS + 1)
        return cluster * 3 // (2 * _FEWEST)

    # ---- adding

    def add(self, numbers: Numbers) -> None:
        """Sort rows in, some tens at once. Those that are not known any more are passed over."""
        vectors, is_known = self._vectors(numbers)
        numbers = numbers[is_known]
        if len(numbers) and not self._num_clusters:
            self._begin(numbers[:1], vectors[:1])
            numbers, vectors = numbers[1:], vectors[1:]
        if not len(numbers):
            return
        nearest, distances = self._nearest(vectors)
        is_far = distances > self._far
        for cluster in np.unique(nearest[~is_far]).tolist():
            chosen = (nearest == cluster) & ~is_far
            self._join(cluster, numbers[chosen], float(distances[chosen].max()))
        self._begin_all(numbers[is_far], vectors[is_far])

    def sweep(self) -> None:
        """Let go of all rows that are not known any more, and of clusters that are empty then."""
        count = self._num_clusters
        taken = np.arange(MAX_MEMBERS) < self._counts[:count, None]
        numbers = self._members[:count][taken]
        owner = np.repeat(np.arange(count), self._counts[:count])
        kept = np.zeros(len(numbers), np.bool_)
        for start in range(0, len(numbers), 4096):
            some = slice(start, start + 4096)
            kept[some] = self._vectors(numbers[some])[1]
        numbers, owner = numbers[kept], owner[kept]
        counts = np.bincount(owner, minlength=count)
        alive = np.flatnonzero(counts)
        members = np.empty((len(alive), MAX_MEMBERS), np.int64)
        members[np.arange(MAX_MEMBERS) < counts[alive, None]] = numbers
        self._heads, self._radii = self._heads[alive], self._radii[alive]
        self._members, self._counts = members, counts[alive]
        self._num_clusters = len(alive)

    @property
    def _far(self) -> float:
        """How far a row lies from all clusters that is unlike all others. None is while there are
        few clusters to tell by, or as many as there may be."""
        radii = self._radii[: self._num_clusters][self._counts[: self._num_clusters] >= _FEWEST]
        return math.inf if self._is_crowded or not len(radii) else _FAR * float(radii.mean())

    @property
    def _is_crowded(self) -> bool:
        """Whether there are as many clusters as there may be."""
        count = self._num_clusters
        return count > 64 and count * _FEWEST > int(self._counts[:count].sum())

    def _nearest(self, vectors: Vectors) -> tuple[Numbers, Vectors]:
        """The nearest cluster of each row, and how far its center or pivot is, the nearer one."""
        count = self._num_clusters
        centers = self._heads[:count, 0]
        lengths = np.einsum("cd,cd->c", centers, centers)
        nearest = (lengths - 2 * (vectors @ centers.T)).argmin(1)
        apart = np.linalg.norm(vectors[:, None] - self._heads[nearest], axis=2)
        return nearest, apart.min(1)

    def _join(self, cluster: int, numbers: Numbers, distance: float) -> None:
        count = int(self._counts[cluster])
        if count + len(numbers) <= MAX_MEMBERS:
            self._members[cluster, count : count + len(numbers)] = numbers
            self._counts[cluster] = count + len(numbers)
            self._radii[cluster] = max(float(self._radii[cluster]), distance * 1.0001)
            return
        numbers = np.concatenate([self._members[cluster, :count], numbers])
        vectors, is_known = self._vectors(numbers)
        self._replace(cluster, numbers[is_known], vectors)

    def _replace(self, cluster: int, numbers: Numbers, vectors: Vectors) -> None:
        """Give a cluster these rows; where they are too many, other parts begin new ones."""
        parts = [(numbers, vectors)]
        while len(parts[-1][0]) > MAX_MEMBERS:
            numbers, vectors = parts.pop()
            is_first = _halves(vectors, is_even=self._is_crowded)
            halves = [
                (numbers[is_first], vectors[is_first]),
                (numbers[~is_first], vectors[~is_first]),
            ]
            # The larger stands last, and is split next.
            parts += sorted(halves, key=lambda half: len(half[0]))
        self._write(cluster, *parts.pop())
        for numbers, vectors in parts:
            if len(numbers) > MAX_MEMBERS:
                cluster = self._begin(numbers[:0], vectors[:0])
                self._replace(cluster, numbers, vectors)
            else:
                self._begin(numbers, vectors)

    def _begin_all(self, numbers: Numbers, vectors: Vectors) -> None:
        """Begin clusters of rows that are unlike all others, but may be like each other."""
        while len(numbers):
            is_near = np.linalg.norm(vectors - vectors[0], axis=1) <= self._far
            is_near[0] = True
            is_near &= np.cumsum(is_near) <= MAX_MEMBERS
            self._begin(numbers[is_near], vectors[is_near])
            numbers, vectors = numbers[~is_near], vectors[~is_near]

    def _begin(self, numbers: Numbers, vectors: Vectors) -> int:
        cluster = self._num_clusters
        if cluster == len(self._radii):
            more = max(64, cluster // 2)
            self._heads = _longer(self._heads, more)
            self._radii = _longer(self._radii, more)
            self._members = _longer(self._members, more)
            self._counts = _longer(self._counts, more)
        self._num_clusters += 1
        self._write(cluster, numbers, vectors)
        return cluster

    def _write(self, cluster: int, numbers: Numbers, vectors: Vectors) -> None:
        self._members[cluster, : len(numbers)] = numbers
        self._counts[cluster] = len(numbers)
        if not len(numbers):
            self._radii[cluster] = 0
            return
        center = vectors.mean(0)
        apart = np.linalg.norm(vectors - center, axis=1)
        pivot = vectors[int(apart.argmax())]
        apart = np.minimum(apart, np.linalg.norm(vectors - pivot, axis=1))
        self._heads[cluster] = center, pivot
        self._radii[cluster] = float(apart.max()) * 1.0001  # its own rounding is covered, too

    # ---- searching

    def search(
        self, query: Vectors, count: int, is_wanted: Callable[[Numbers], NDArray[np.bool_]]
    ) -> Compared:
        """Find the `count` rows that score best: ``query @ vector`` is the score, [dims].

        Args:
            is_wanted: which of some numbers may be found.
        """
        search = _Search(query, count, is_wanted, self._vectors)
        num_clusters = self._num_clusters
        if not num_clusters:
            return search.found(0)
        heads = (self._heads[:num_clusters].reshape(-1, self._dims) @ query).reshape(-1, 2).max(1)
        reach = self._radii[:num_clusters] * float(np.linalg.norm(query))
        is_new = np.ones(num_clusters, np.bool_)
        num_seeds = min(num_clusters, _FEWEST + 4 * count // MAX_MEMBERS)
        seeds = np.argpartition(-heads, num_seeds - 1)[:num_seeds]
        spread = np.linspace(0, num_clusters - 1, min(num_clusters, _NUM_SAMPLED)).astype(np.int64)
        first = np.union1d(seeds, spread)
        excess = search.compare(self._members[first], self._counts[first], heads[first])
        is_new[first] = False
        measured = excess / np.maximum(reach[first], 1e-12)
        limits = heads + reach * min(1.0, _MARGIN * float(measured.max(initial=0)))
        batch = _FIRST_BATCH
        while True:
            left = np.flatnonzero(is_new & (limits >= search.least))
            if not len(left):
                return search.found(2 * num_clusters)
            some = left
            if len(left) > batch:
                some = left[np.argpartition(-limits[left], batch - 1)[:batch]]
            search.compare(self._members[some], self._counts[some], heads[some])
            is_new[some] = False
            batch *= 2


class _Search:
    """What one search has found so far."""

    def __init__(
        self,
        query: Vectors,
        count: int,
        is_wanted: Callable[[Numbers], NDArray[np.bool_]],
        vectors: Callable[[Numbers], tuple[Vectors, NDArray[np.bool_]]],
    ) -> None:
        self._query = query
        self._count = count
        self._is_wanted = is_wanted
        self._vectors = vectors
        self._numbers: list[Numbers] = []
        self._scores: list[Vectors] = []
        self._best: Vectors = np.empty(0, np.float32)
        self._num_compared = 0
        self.least = -np.inf
        """The least score that is still among the best."""

    def compare(self, members: Numbers, counts: Numbers, heads: Vectors) -> Vectors:
        """Compare the members of some clusters, [clusters, members]; returns by how much the best
        of each exceeds the score of its center or pivot."""
        taken = np.arange(MAX_MEMBERS) < counts[:, None]
        numbers = members[taken]
        owner = np.repeat(np.arange(len(counts)), counts)
        vectors, is_known = self._vectors(numbers)
        numbers, owner = numbers[is_known], owner[is_known]
        scores = vectors @ self._query
        self._num_compared += len(numbers)
        excess = np.zeros(len(counts), np.float32)
        np.maximum.at(excess, owner, scores - heads[owner])
        wanted = self._is_wanted(numbers)
        self._numbers.append(numbers[wanted])
        self._scores.append(scores[wanted])
        best = np.concatenate([self._best, scores[wanted]])
        if len(best) >= self._count:
            best = np.partition(best, len(best) - self._count)[len(best) - self._count :]
            self.least = float(best.min())
        self._best = best
        return excess

    def found(self, num_heads: int) -> Compared:
        numbers = np.concatenate([np.empty(0, np.int64), *self._numbers])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores])
        return Compared(numbers, scores, self._num_compared + num_heads)


def _halves(vectors: Vectors, *, is_even: bool) -> NDArray[np.bool_]:
    """Which rows belong to the first of two parts that are alike in themselves, neither of which is
    empty; with `is_even` both are of a size."""
    first = vectors[int(np.linalg.norm(vectors - vectors.mean(0), axis=1).argmax())]
    second = vectors[int(np.linalg.norm(vectors - first, axis=1).argmax())]
    leaning = np.empty(0, np.float32)
    for _ in range(3):
        across = second - first
        leaning = vectors @ across - float((first + second) @ across) / 2
        is_first = leaning < 0
        if is_first.all() or not is_first.any():
            break
        first, second = vectors[is_first].mean(0), vectors[~is_first].mean(0)
    is_first = leaning < 0
    if is_even or is_first.all() or not is_first.any():
        is_first = np.zeros(len(vectors), np.bool_)
        is_first[np.argsort(leaning, kind="stable")[: len(vectors) // 2]] = True
    return is_first


def _longer(array: NDArray[Scalar], more: int) -> NDArray[Scalar]:
    grown: NDArray[Scalar] = np.empty((len(array) + more, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
