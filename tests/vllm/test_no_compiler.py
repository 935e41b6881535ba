"""Images carry no compiler: the model must start, answer and be checked without one."""

import math
import os
import re
import shutil
from pathlib import Path

import pytest

from onlooker.cache_store.config import CacheStoreSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.vllm_adapter.engine import make_engine
from tests.vllm.test_engines import MODEL, ask, open_with_clips, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

COMPILERS = re.compile(r"(.*-)?(cc|c\+\+|cpp|gcc|g\+\+|clang|clang\+\+|icx|icpx)(-[\d.]+)?")


def programs_but_compilers(folder: Path) -> Path:
    """`folder`, with a link to each program on PATH that is no compiler of C or C++."""
    folder.mkdir()
    for place in os.get_exec_path():
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            if not COMPILERS.fullmatch(program.name) and not link.is_symlink():
                link.symlink_to(program)
    return folder


async def test_the_model_starts_and_answers_where_there_is_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs_but_compilers(tmp_path / "bin")))
    assert shutil.which("cc") is None
    for name in ("CC", "CXX", "TORCHDYNAMO_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    settings = EngineSection(model=MODEL, mode="segments", vllm=VllmSection(max_model_len=1024))
    engine = make_engine(settings, SystemClock(), Metrics(), CacheStoreSection())
    await engine.start(lambda line: None)
    try:
        await open_with_clips(engine, "door", 3)
        reply, _ = await ask(engine, question("door", "How many objects are there?"))
        asked = Check(StreamId("door"), "Is there a red circle?", 2.5, answers=(("Yes",), ("No",)))
        checked = await engine.check(asked)
    finally:
        await engine.close()
    assert reply
    assert all(math.isfinite(logprob) for logprob in checked.logprobs)
