"""`HeadReader`: what a model's score heads give for the last tokens of requests that ask for it.

The heads come in a file of the model's own (see `gateway.score_heads`). They are applied in float32
to the hidden state behind the model's last norm, which is what the next token is chosen by, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors import safe_open

from onlooker.engine.vllm_adapter.wire import HeadOp, ScoreHeads
from onlooker.engine.vllm_adapter.worker.rows import StepRows


@dataclass(frozen=True, slots=True)
class _Layer:
    """A head's weights, [1 or 2, hidden size] and [1 or 2], float32."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores of [requests, hidden size], [requests]."""
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias)
        if logits.shape[1] == 1:
            return torch.sigmoid(logits[:, 0])
        return torch.softmax(logits, dim=-1)[:, 1]


class HeadReader:
    """One a worker. Order in a step: `begin`, `read` when the model has run, `take`."""

    def __init__(self, heads: ScoreHeads | None) -> None:
        self._heads = heads
        self._layers: dict[str, _Layer] = {}
        self._ops: Sequence[HeadOp] = ()
        self._scores: torch.Tensor | None = None
        """Of the requests of this step, [heads, requests]."""

    def begin(self, ops: Sequence[HeadOp]) -> None:
        """A step begins, in which these requests end their prompts."""
        self._ops, self._scores = ops, None

    def read(self, hidden: torch.Tensor, rows: StepRows) -> None:
        """Apply the heads. `hidden`: [tokens of the step, hidden size]."""
        if not self._ops or self._heads is None:
            return
        states = hidden.index_select(0, rows.find([op.slot for op in self._ops])).float()
        layers = self._loaded(self._heads, hidden.device)
        self._scores = torch.stack([layer.score(states) for layer in layers.values()])

    def take(self) -> dict[str, dict[str, float]]:
        """What was read in this step, by request and by head; nothing where the model ran as a
        graph that does not say when it ends."""
        if self._scores is None:
            return {}
        by_request = self._scores.T.tolist()
        return {
            op.request_id: dict(zip(self._layers, scores, strict=True))
            for op, scores in zip(self._ops, by_request, strict=True)
        }

    def _loaded(self, heads: ScoreHeads, device: torch.device) -> dict[str, _Layer]:
        """The heads on `device`, read from their file when they are first wanted."""
        if not self._layers:
            with safe_open(heads.file, framework="pt") as file:
                self._layers = {
                    head.name: _Layer(
                        file.get_tensor(head.weight).float().to(device),
                        None
                        if head.bias is None
                        else file.get_tensor(head.bias).float().to(device),
                    )
                    for head in heads.heads
                }
        return self._layers
