"""A model's pause is held back in real vLLM, in the replies that have a rule for it alone.

The demo model has no pause of its own; the mark that ends its replies stands for one.
"""

import asyncio
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import FinishReason
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.sampling import PauseRamp, Sampling
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.gateway.boot import PAUSE_PROCESSORS
from onlooker.engine.vllm_adapter.wire import PauseRule, pause_params
from onlooker.engine.vllm_adapter.worker.held_pause import HeldPause
from tests.vllm.conftest import MODEL
from tests.vllm.rig import asking, ingest, save_sink
from tests.vllm.test_engines import ask, open_with_clips, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PAUSE = "<|im_end|>"
LATE, LATER = PauseRamp(1.25, -0.125), PauseRamp(2.25, -0.25)
"""The bar is at a probability of 1 behind two tokens, and behind five."""
ALTERNATIVES = 20
"""The most that vLLM tells for a token; a pause that is not among them is none that counts."""


@dataclass(frozen=True)
class Reply:
    """What a request gave."""

    ids: list[int]
    chances: list[float]
    """How likely the pause was at each place, before any rule."""
    likeliest: list[int]


class Rig:
    """One engine with four clips, and how its batches move."""

    def __init__(self, vllm: Any) -> None:
        self.vllm = vllm
        self.moved: list[Any] = []
        (self.pause,) = vllm.ids(PAUSE)

    def add(self, ramp: PauseRamp | None, num_tokens: int, clips: Sequence[int] = (0, 1, 2)) -> str:
        rule = None if ramp is None else PauseRule(self.pause, ramp)
        builder = asking(self.vllm, list(clips))
        added = self.vllm.add(builder, max_tokens=num_tokens, logprobs=ALTERNATIVES, pause=rule)
        return str(added)

    def ended(self, *requests: str) -> list[Reply]:
        """Step until these requests have ended."""
        found: dict[str, Reply] = {}
        while not found.keys() >= set(requests):
            for output in self.vllm.step():
                found[output.request_id] = self._read(output.outputs[0])
        return [found[request] for request in requests]

    def alone(self, *options: Any) -> Reply:
        (reply,) = self.ended(self.add(*options))
        return reply

    def _read(self, completion: Any) -> Reply:
        chances, likeliest = [], []
        for step in completion.logprobs:
            logprobs = {token: told.logprob for token, told in step.items()}
            chances.append(math.exp(logprobs.get(self.pause, -math.inf)))
            likeliest.append(max(logprobs, key=lambda token: logprobs[token]))
        return Reply(list(completion.token_ids), chances, likeliest)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    from onlooker.engine.vllm_adapter.entry.pause_by_rows import PauseByRows
    from tests.vllm.in_process import SegmentVllm

    vllm = SegmentVllm(MODEL, policy="slo", logits_processors=[PAUSE_PROCESSORS.by_rows])
    found = Rig(vllm)
    update = PauseByRows.update_state

    def updated(self: Any, batch_update: Any) -> None:
        found.moved += [] if batch_update is None else batch_update.moved
        update(self, batch_update)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PauseByRows, "update_state", updated)
        save_sink(vllm)
        for index in range(4):
            ingest(vllm, index, range(index), "whole")
        yield found
    vllm.engine.engine_core.shutdown()


def pauses_of(reply: Reply, pause: int) -> list[int]:
    """The places at which a reply has a pause."""
    return [place for place, token in enumerate(reply.ids) if token == pause]


def assert_follows(reply: Reply, ramp: PauseRamp, pause: int) -> None:
    """At each place a reply has the likeliest token, and a pause only where its probability is
    above the bar."""
    for place, token in enumerate(reply.ids):
        may = reply.chances[place] > ramp.bar(place)
        if reply.likeliest[place] == pause:
            assert (token == pause) is may, place
        else:
            assert token == reply.likeliest[place], place


def test_a_rule_changes_when_a_reply_ends_and_leaves_its_neighbour_alone(rig: Rig) -> None:
    free = rig.alone(None, 10)
    assert free.ids == free.likeliest
    assert pauses_of(free, rig.pause)[0] <= 5, "the model would end early"
    both = [rig.add(LATER, 10), rig.add(None, 10)]
    held, beside = rig.ended(*both)
    assert_follows(held, LATER, rig.pause)
    assert pauses_of(held, rig.pause)[0] > 5
    assert beside.ids == free.ids


def test_a_rule_goes_along_when_rows_of_the_batch_move(rig: Rig) -> None:
    asked: list[tuple[PauseRamp | None, int, Sequence[int]]] = [
        (None, 2, (0,)), (LATER, 12, (0, 1)), (None, 4, (1, 2)), (LATE, 9, (0, 1, 2)),
        (None, 9, (2, 3)), (LATER, 7, (3,)),
    ]  # fmt: skip
    expected = [rig.alone(*one) for one in asked]
    rig.moved.clear()
    requests = [rig.add(*one) for one in asked[:4]]
    (first,) = rig.ended(requests[0])  # its row is taken by the last one
    requests += [rig.add(*one) for one in asked[4:]]
    found = [first, *rig.ended(*requests[1:])]
    assert rig.moved, "no row has moved"
    assert [one.ids for one in found] == [one.ids for one in expected]
    for (ramp, _, _), reply in zip(asked, found, strict=True):
        if ramp is not None:
            assert_follows(reply, ramp, rig.pause)


def test_a_request_that_is_preempted_counts_on(rig: Rig) -> None:
    alone = rig.alone(LATER, 10)
    request = rig.add(LATER, 10)
    for _ in range(4):
        rig.vllm.step()
    assert rig.vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
    (again,) = rig.ended(request)
    assert again.ids == alone.ids


def test_both_of_vllms_runners_are_told_the_same_rule() -> None:
    from onlooker.engine.vllm_adapter.entry.pause_by_slots import PauseBySlots

    rules = {0: PauseRule(3, LATE), 5: PauseRule(1, PauseRamp(0.2, 0.05)), 2: None}
    prompt_len = torch.zeros(6, dtype=torch.int32)
    prompt_len[[0, 2, 5]] = torch.tensor([10, 20, 30], dtype=torch.int32)
    states = SimpleNamespace(max_num_reqs=6, prompt_len=SimpleNamespace(gpu=prompt_len))
    held = PauseBySlots(None, states)
    for slot in (0, 2, 5):  # as an earlier request has left it
        held.add_request(slot, SimpleNamespace(extra_args=pause_params(PauseRule(0, LATE))))
    for slot, rule in rules.items():
        extra = None if rule is None else pause_params(rule)
        assert held.add_request(slot, SimpleNamespace(extra_args=extra)) is (rule is not None)
    order = [5, 2, 0]
    for num_tokens in range(12):
        torch.manual_seed(num_tokens)
        logits = 3 * torch.randn(3, 4)
        expected = logits.clone()
        for row, slot in enumerate(order):
            if (rule := rules[slot]) is not None:
                HeldPause(rule)([7] * num_tokens, expected[row])
        slots = torch.tensor(order, dtype=torch.int32)
        context = SimpleNamespace(
            idx_mapping_np=slots.numpy(),
            expanded_idx_mapping=slots,
            pos=prompt_len[order].long() + num_tokens - 1,
        )
        assert torch.equal(held.apply(logits, context), expected), num_tokens


def with_pause(folder: Path) -> Path:
    """The demo model with a profile that names a pause."""
    for path in MODEL.iterdir():
        (folder / path.name).symlink_to(path)
    profile = json.loads((MODEL / "onlooker.json").read_text())
    profile["watching"]["pause"] = PAUSE
    (folder / "onlooker.json").unlink()
    (folder / "onlooker.json").write_text(json.dumps(profile))
    return folder


@pytest.mark.parametrize("mode", ["segments", "resend"])
def test_a_models_profile_names_its_pause(
    mode: Literal["segments", "resend"], tmp_path: Path
) -> None:
    async def scenario() -> None:
        settings = EngineSection(
            model=str(with_pause(tmp_path)),
            mode=mode,
            window_clips=8,
            memory=MemorySection(recent_clips=4, retrieved_clips=2),
            vllm=VllmSection(max_model_len=1024),
        )
        engine = make_engine(settings, SystemClock(), Metrics())
        await engine.start(lambda line: None)
        try:
            assert engine.info.wording.pause == PAUSE
            await open_with_clips(engine, "door", 3)
            asked = question("door", "What is there?", max_tokens=40)
            never = replace(asked, sampling=Sampling(pause_ramp=PauseRamp(1.0, 0.0)))
            never = replace(never, response_id=type(asked.response_id)("never"))
            (_, free), (_, held) = await asyncio.gather(ask(engine, asked), ask(engine, never))
            assert free.finish_reason == FinishReason.STOP
            assert held.finish_reason == FinishReason.LENGTH
        finally:
            await engine.close()

    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    asyncio.run(scenario())
