"""Prompts of segments for tests, and the reference's own segments to compare with."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.vllm_adapter.wire import read_report

NUM_CLIPS = 8
WINDOW = 3
QUESTION = "What colour is the circle?"
NUM_TOKENS = 8
TOLERANCE = 1e-4
"""Log probabilities, float32: rotary angles are the largest part of it."""


def new_prompt(salt: str | None = None) -> Any:
    return PromptBuilder(salt)


def sink_ids(vllm: Any) -> list[int]:
    from tests.vllm.in_process import SINK

    return list(vllm.ids(SINK))


def question_ids(vllm: Any) -> list[int]:
    from tests.vllm.in_process import ASK

    return list(vllm.ids(QUESTION + ASK))


def clip_of(vllm: Any, index: int, kind: str) -> tuple[Any, Any]:
    from dataclasses import replace

    tokens, pixels = vllm.clip(index)
    return replace(tokens, key=f"{kind}/{index}"), pixels


def ingest(
    vllm: Any, index: int, past: Sequence[int], kind: str, into: str = "", salt: str | None = None
) -> Any:
    return vllm.run(ingesting(vllm, index, past, kind, into, salt))


def ingesting(
    vllm: Any, index: int, past: Sequence[int], kind: str, into: str = "", salt: str | None = None
) -> Any:
    builder = new_prompt(salt)
    builder.load_text("sink", sink_ids(vllm))
    for earlier in past:
        builder.load_clip(clip_of(vllm, earlier, kind)[0])
    tokens, pixels = clip_of(vllm, index, into or kind)
    builder.save_clip(tokens, pixels)
    return builder


def answer(vllm: Any, clips: Sequence[int], kind: str = "whole") -> Any:
    return vllm.run(asking(vllm, clips, kind), max_tokens=NUM_TOKENS, logprobs=1)


def asking(vllm: Any, clips: Sequence[int], kind: str = "whole") -> Any:
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    for index in clips:
        builder.load_clip(clip_of(vllm, index, kind)[0])
    builder.question(question_ids(vllm))
    return builder


def retrieving(vllm: Any, num_slots: int, recent: Sequence[int]) -> Any:
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    older = [index for index in range(NUM_CLIPS) if index not in recent]
    shapes = [clip_of(vllm, index, "whole")[0] for index in older[:num_slots]]
    builder.retrieve([f"whole/{index}" for index in older], shapes)
    for index in recent:
        builder.load_clip(clip_of(vllm, index, "whole")[0])
    builder.question(question_ids(vllm))
    return builder


def picks(output: Any) -> list[list[int]]:
    report = read_report(output.kv_transfer_params)
    return [[int(key.split("/")[1]) for key in layer] for layer in report.picked]


def ingest_all(vllm: Any) -> None:
    """Every clip twice: with all before it in its context, and under a sliding window."""
    for index in range(NUM_CLIPS):
        ingest(vllm, index, range(index), "whole")
        ingest(vllm, index, range(max(0, index - WINDOW), index), "sliding")


def save_sink(vllm: Any) -> None:
    """What every prompt begins with."""
    builder = new_prompt()
    builder.save_text("sink", sink_ids(vllm))
    builder.question(vllm.ids("x"))
    vllm.run(builder)


def result_of(output: Any) -> tuple[list[int], list[float]]:
    completion = output.outputs[0]
    ids = list(completion.token_ids)
    chosen = zip(ids, completion.logprobs, strict=True)
    return ids, [step[token].logprob for token, step in chosen]


def assert_same(
    found: tuple[list[int], list[float]], expected: tuple[list[int], list[float]]
) -> None:
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], abs=TOLERANCE)


@contextmanager
def at_most(vllm: Any, num_tokens: int) -> Iterator[None]:
    """The scheduler gives a step no more tokens than this, so that prompts come in chunks."""
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = num_tokens
    try:
        yield
    finally:
        vllm.scheduler.max_num_scheduled_tokens = before


def preempted(vllm: Any, builder: Any) -> Any:
    """The output of a request that is preempted when it has run for three steps."""
    request = vllm.add(builder, max_tokens=NUM_TOKENS, logprobs=1)
    for _ in range(3):
        vllm.step()
    assert vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
    outputs: list[Any] = []
    while not outputs:
        outputs = vllm.step()
    assert outputs[0].request_id == request
    return outputs[0]


def assert_a_missing_segment_fails_its_own_request(vllm: Any) -> None:
    """A request whose segment is gone ends with an error; one beside it answers as ever."""
    expected = result_of(answer(vllm, [0, 3, 6]))
    vllm.arena.put("gone/2", vllm.arena.get("whole/2"))
    broken = asking(vllm, [2], "gone")
    vllm.arena.drop(["gone/2"])
    bad = vllm.add(broken, max_tokens=NUM_TOKENS)
    good = vllm.add(asking(vllm, [0, 3, 6]), max_tokens=NUM_TOKENS, logprobs=1)
    ended: dict[str, Any] = {}
    while len(ended) < 2:
        ended |= {output.request_id: output for output in vllm.step()}
    assert ended[bad].outputs[0].finish_reason == "error"
    assert_same(result_of(ended[good]), expected)


def assert_stored(vllm: Any, kind: str, pieces: Sequence[Any]) -> None:
    """The stored clips of a kind have the keys, without position, and the values of `pieces`."""
    for index, piece in enumerate(pieces):
        segment = vllm.arena.get(f"{kind}/{index}")
        for layer, (keys, values) in enumerate(zip(piece.keys, piece.values, strict=True)):
            assert float((segment.plain_keys[layer] - keys).abs().max()) <= 1e-4
            assert float((segment.values[layer] - values).abs().max()) <= 1e-4


class Rebuilt:
    """The reference's own segments of the same clips."""

    def __init__(self, vllm: Any, reference: Any, window: int) -> None:
        self.reference, self.extent = reference, 0
        sink = sink_ids(vllm)
        self.sink, _ = reference.run(reference.text(sink), 0, [])
        self.start = len(sink)
        self.pieces: list[Any] = []
        for index in range(NUM_CLIPS):
            ids = vllm.clip(index)[0].token_ids
            tokens = reference.clip(ids, vllm.frames(index), vllm.second_per_grid)
            self.extent = tokens.extent
            past = self.past(self.pieces[max(0, index - window) :])
            self.pieces.append(reference.run(tokens, self.place(len(past) - 1), past)[0])

    def place(self, slot: int) -> int:
        return self.start + slot * self.extent

    def past(self, pieces: Sequence[Any]) -> list[tuple[Any, int]]:
        return [(self.sink, 0), *((piece, self.place(i)) for i, piece in enumerate(pieces))]

    def answer(self, vllm: Any, pieces: Sequence[Any]) -> tuple[list[int], list[float]]:
        found: tuple[list[int], list[float]] = self.reference.answer(
            question_ids(vllm), self.place(len(pieces)), self.past(pieces), NUM_TOKENS
        )
        return found


def logits_of(question: Any, clip: Any, layer: int) -> Any:
    """The reference's attention logits without position, [heads, question, clip tokens]."""
    queries, keys = question.queries[layer], clip.keys[layer]
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
    return queries.transpose(0, 1) @ keys.permute(1, 2, 0) / queries.shape[-1] ** 0.5


SCORE_OF = {
    "mean_key": lambda logits: float(logits.mean()),
    "page_mean": lambda logits: max(float(part.mean()) for part in logits.split(16, dim=-1)),
    "late_interaction": lambda logits: float(logits.amax(-1).mean()),
}
"""Scores from all logits of a clip: what they mean, not how they are computed."""


def votes_of(vllm: Any, whole: Rebuilt, score: str, layers: Sequence[int]) -> list[float]:
    """Added up z-scores of clips 0-5, asked with clips 6 and 7 in view."""
    recent = [whole.pieces[6], whole.pieces[7]]
    tokens = whole.reference.text(question_ids(vllm))
    asked, _ = whole.reference.run(tokens, whole.place(2), whole.past(recent))
    total = [0.0] * 6
    for layer in layers:
        scores = [SCORE_OF[score](logits_of(asked, whole.pieces[i], layer)) for i in range(6)]
        mean, deviation = statistics.mean(scores), statistics.pstdev(scores)
        total = [t + (s - mean) / deviation for t, s in zip(total, scores, strict=True)]
    return total
