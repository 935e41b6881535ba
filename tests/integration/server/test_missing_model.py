"""A model that is not there is told by `onlooker serve` before anything slow begins."""

import subprocess
import sys
from pathlib import Path

import pytest

SERVE = """
import sys
from onlooker.server.cli import main
sys.argv = ["onlooker", "serve", "--port", "0", "--mode", sys.argv[2], "--model", sys.argv[1]]
try:
    main()
finally:
    print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("model", "mode", "told"),
    [
        ("no/such/folder", "segments", "there is no model folder 'no/such/folder'"),
        ("nowhere", "resend", "there is no model folder 'nowhere'"),
        ("empty", "segments", "holds no config.json"),
    ],
)
def test_a_missing_model_is_told_before_anything_slow_is_imported(
    model: str, mode: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-c", SERVE, model, mode]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert ran.returncode == 2
    assert told in ran.stderr
    loaded = set(ran.stdout.partition("LOADED")[2].split())
    assert "onlooker" in loaded
    assert loaded & {"torch", "vllm", "transformers"} == set()
