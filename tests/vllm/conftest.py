"""Models that tests make for themselves, once for all files."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def qwen2_5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with random weights."""
    from tests.vllm.tiny_qwen2_5 import write_tiny_qwen2_5

    return write_tiny_qwen2_5(tmp_path_factory.mktemp("qwen2_5"))
