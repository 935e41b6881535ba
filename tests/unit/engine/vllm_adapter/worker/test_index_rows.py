"""Index entries as arrays of a stored record, and back."""

import numpy as np
import torch

from onlooker.engine.vllm_adapter.worker.index_rows import IndexRows
from onlooker.engine.vllm_adapter.worker.scores import SCORES

KEYS = torch.randn(4, 15, 2, 32, generator=torch.Generator().manual_seed(0))


def test_numbers_come_back_as_they_were() -> None:
    rows, entries = IndexRows("page_mean"), SCORES["page_mean"].entries(KEYS, None)
    found = rows.entries(rows.stored(entries), rows.name, torch.float32)
    assert found is not None
    assert torch.equal(found, entries)


def test_bytes_come_back_as_they_were() -> None:
    rows, entries = (
        IndexRows("token_keys_1bit", (1, 3)),
        SCORES["token_keys_1bit"].entries(KEYS[[1, 3]], None),
    )
    stored = rows.stored(entries)
    assert stored.nbytes == entries.numel()
    found = rows.entries(stored, rows.name, torch.bfloat16)
    assert found is not None
    assert found.dtype == torch.uint8
    assert torch.equal(found, entries)


def test_of_a_row_of_all_layers_those_that_are_kept_are_taken() -> None:
    entries = SCORES["mean_key"].entries(KEYS, None)
    stored = IndexRows("mean_key").stored(entries)
    found = IndexRows("mean_key", (1, 3)).entries(stored, "mean_key", torch.float32)
    assert found is not None
    assert torch.equal(found, entries[[1, 3]])


def test_a_row_of_another_kind_is_none_of_ours() -> None:
    rows = IndexRows("mean_key", (1, 3))
    stored = rows.stored(SCORES["mean_key"].entries(KEYS[[1, 3]], None))
    for other in (IndexRows("mean_key"), IndexRows("mean_key", (0, 2)), IndexRows("page_mean")):
        assert other.entries(stored, rows.name, torch.float32) is None
    assert rows.entries(stored, None, torch.float32) is None
    assert rows.entries(np.zeros(0, np.float32), rows.name, torch.float32) is None
    assert IndexRows("mean_key", (7,)).entries(stored, "mean_key", torch.float32) is None
