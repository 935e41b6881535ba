"""The README's programs, as they stand there, against a server with the scripted engine."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.fakes.pictures import encode, make_pixels
from tests.fakes.served import serving
from tests.fakes.waiting import limited

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1:8000"


def programs() -> list[str]:
    """The Python blocks of the README, in order."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def name_of(program: str) -> str:
    uses = re.search(r"^(?:from|import) (onlooker|openai|websockets)", program, re.MULTILINE)
    return uses[1] if uses else program


async def run(program: str, folder: Path) -> str:
    """What a program prints; it must end well."""
    environ = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=folder, env=environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with limited("a program of the README to end"):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("program", programs(), ids=name_of)
async def test_a_program_of_the_readme_prints_an_answer(program: str, tmp_path: Path) -> None:
    assert ADDRESS in program
    jpeg = encode(make_pixels())
    (tmp_path / "frame.jpg").write_bytes(jpeg)
    async with serving() as served, served.http() as http:
        if "stream://door" in program:  # somebody else feeds it
            created = await http.post("/v1/streams", json={"id": "door"})
            assert created.status_code == 201
            headers = {"Content-Type": "image/jpeg"}
            await http.post("/v1/streams/door/frames?t=0", content=jpeg, headers=headers)
        printed = await run(program.replace(ADDRESS, served.base.removeprefix("http://")), tmp_path)
    assert printed.strip()


def test_the_readme_shows_three_ways_in() -> None:
    assert [name_of(program) for program in programs()] == ["onlooker", "openai", "websockets"]
