"""A family is one file: the one of docs/families.md, added as that page says, serves a model."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import onlooker

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = Path("engine/vllm_adapter/families")
ARCHITECTURE = "TinyVLForConditionalGeneration"

IMPORTS = """
import sys
from pathlib import Path

from onlooker.engine.vllm_adapter.families import FAMILIES
from tests.vllm.in_process import SegmentVllm
from tests.vllm.rig import (
    NUM_CLIPS, NUM_TOKENS, QUESTION, answer, assert_same, ingest_all, result_of, save_sink,
)

folder = Path(sys.argv[1])
"""
REPORT = """
print("families:", *FAMILIES)
print("served as:", *vllm.llm.apply_model(lambda model: type(model).__name__))
vllm.engine.engine_core.shutdown()
"""


def code_of_the_page() -> tuple[str, str]:
    """The file and the lines of the test."""
    page = (ROOT / "docs" / "families.md").read_text()
    file, lines = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return file, lines


def copy_of_the_package(folder: Path) -> Path:
    """The package with a folder of families of its own; all else are links. Returns its parent."""
    source = Path(onlooker.__file__).parent
    made = folder / "onlooker"
    made.mkdir(parents=True)
    into, beside = made, source
    for part in (None, *FAMILIES.parts):
        if part is not None:
            into, beside = into / part, beside / part
            into.unlink()
            into.mkdir()
        for entry in beside.iterdir():
            (into / entry.name).symlink_to(entry.resolve())
    return folder


def model_of(qwen2_5_folder: Path, folder: Path) -> Path:
    """The tiny Qwen2.5-VL under another architecture."""
    shutil.copytree(qwen2_5_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [ARCHITECTURE]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_file_of_the_page_adds_a_family(qwen2_5_folder: Path, tmp_path: Path) -> None:
    file, lines = code_of_the_page()
    packages = copy_of_the_package(tmp_path / "packages")
    (packages / "onlooker" / FAMILIES / "tiny_vl.py").write_text(file)
    model = model_of(qwen2_5_folder, tmp_path / "model")
    script = tmp_path / "served.py"
    script.write_text(IMPORTS + lines + REPORT)
    ran = subprocess.run(
        [sys.executable, str(script), str(model)],
        env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert ARCHITECTURE in ran.stdout
    assert "served as: OnlookerTinyVL" in ran.stdout
