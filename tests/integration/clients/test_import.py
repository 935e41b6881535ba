"""`onlooker import`, as somebody at a terminal starts it, ends it and starts it again."""

import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult
from tests.fakes.dated_recordings import write_recording
from tests.fakes.served import Served, serving
from tests.fakes.waiting import until
from tests.integration.clients.test_commands import end_of, run, start

BEGAN_S = 1795959900.0
"""The 29th of November 2026, 13:45:00 UTC."""


class Noting(ScriptedEngine):
    """Notes the times of all pictures that the model is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.times_s: Counter[float] = Counter()

    def comes_to(self, at_s: float) -> Callable[[], bool]:
        """Whether it was shown something of that time, when asked."""

        def has_come() -> bool:
            return max(self.times_s, default=0.0) >= at_s

        return has_come

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        first, second = clip.frames
        self.times_s.update({round(first.capture_s, 3), round(second.capture_s, 3)})
        return await super().ingest(clip, care)


def write_folder(folder: Path) -> Path:
    """Three recordings with a gap of three minutes before the last; the second one begins two
    seconds before the first one ends."""
    folder.mkdir()
    write_recording(folder / "door.mp4", 10, creation_time="2026-11-29T13:45:00Z")
    write_recording(folder / "20261129T134508Z.mkv", 10, first_second=8, b_frames=0)
    write_recording(folder / "2026-11-29_13-48-18+0000.ts", 40, first_second=18)
    return folder


EXPECTED_S = [i / 2 for i in range(36)] + [198 + i / 2 for i in range(80)]
"""Stream times of all pictures of that folder."""


async def imported(served: Served, folder: Path, *more: str) -> tuple[int, str, str]:
    return await run(
        "import", str(folder), "--camera", "door", "--zone", "UTC", "--server", served.base, *more,
        XDG_STATE_HOME=str(folder.parent / "state"),
    )  # fmt: skip


async def of_stream(served: Served) -> dict[str, Any]:
    async with served.http() as http:
        found: dict[str, Any] = (await http.get("/v1/streams/door")).json()
    return found


async def test_recordings_are_imported_at_the_times_at_which_they_were_made(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    (folder / "20261129T150000Z.mp4").write_bytes(b"no video")
    shutil.copy(folder / "door.mp4", folder / "zz copy.mp4")
    engine = Noting()
    async with serving(engine=engine) as served:
        status, out, err = await imported(served, folder)
        assert (status, err) == (1, "")
        assert "20261129T150000Z.mp4: cannot be read" in out
        assert "copy.mp4: skipped: it is the same as 'recordings/door.mp4'" in out
        assert "20261129T134508Z.mkv: its first 2 s were in the stream already" in out
        assert "3 files imported; " in out
        stream = await of_stream(served)
        assert stream["starts_at"] == BEGAN_S
        assert (stream["totals"]["received"], stream["totals"]["dropped"]) == (116, {})
        assert sorted(engine.times_s) == EXPECTED_S
        async with served.http() as http:
            question = {"question": "Which colours were there at 13:48:20 on 2026-11-29?"}
            reply = (await http.post("/v1/streams/door/questions", json=question)).json()
        assert reply["onlooker"]["clip_spans_s"] == [[200.0, 201.0]]
        status, out, _ = await imported(served, folder)
        assert "0 files imported" in out
        assert "5 skipped" not in out
        assert len(re.findall("skipped: it was imported before", out)) == 3
        assert (await of_stream(served))["totals"]["received"] == 116


async def test_an_import_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    engine = Noting()
    async with serving(engine=engine) as served:
        for reached_s in (5.0, 205.0):
            process = await start(
                "import", str(folder), "--camera", "door", "--zone", "UTC",
                "--server", served.base, XDG_STATE_HOME=str(tmp_path / "state"),
            )  # fmt: skip
            await until(engine.comes_to(reached_s))
            process.send_signal(signal.SIGKILL)
            await end_of(process)
        status, out, err = await imported(served, folder)
        assert (status, err) == (0, ""), out
        totals = (await of_stream(served))["totals"]
    assert totals["dropped"] == {}
    assert totals["received"] == len(EXPECTED_S)
    lost = sorted(set(EXPECTED_S) - set(engine.times_s))
    assert lost == [], totals
    assert set(engine.times_s) == set(EXPECTED_S)
    doubled = [at_s for at_s, num in engine.times_s.items() if num > 1]
    assert doubled == []


async def test_an_import_that_is_killed_before_it_notes_the_end_of_a_file_knows_that_it_was_its_own(
    tmp_path: Path,
) -> None:
    folder = write_folder(tmp_path / "recordings")
    async with serving() as served:
        assert (await imported(served, folder))[0] == 0
        (ledger,) = (tmp_path / "state").rglob("*.jsonl")
        begun = [line for line in ledger.read_text().splitlines() if '"is_whole": false' in line]
        assert begun
        ledger.write_text("".join(f"{line}\n" for line in begun))
        status, out, err = await imported(served, folder)
        assert (status, err) == (0, ""), out
        assert "not imported" not in out


async def test_a_file_without_a_time_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    write_recording(folder / "IMG_0042.mov", 1)
    async with serving() as served:
        status, _, err = await imported(served, folder)
        assert status == 2
        assert "nothing says when these began: 'recordings/IMG_0042.mov'" in err
        assert (await of_stream(served))["error"]["code"] == "not_found"


async def test_what_is_from_before_the_stream_came_is_told_and_not_sent(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    early = tmp_path / "early"
    early.mkdir()
    write_recording(early / "20261129T134600Z.mp4", 2)
    write_recording(early / "20261129T134000Z.mp4", 3)
    async with serving() as served:
        assert (await imported(served, folder))[0] == 0
        status, out, _ = await imported(served, early)
        assert status == 1
        assert "134600Z.mp4: not imported: it is from before 2026-11-29 13:48:57" in out
        assert "134000Z.mp4: not imported: it began before the stream did" in out


async def test_a_stream_for_something_else_is_not_imported_into(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    async with serving() as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        status, _, err = await imported(served, folder)
    assert status == 2
    assert "was not opened for recordings" in err


async def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    engine = Noting()
    async with serving(engine=engine) as served:
        process = await start(
            "import", str(folder), "--camera", "door", "--zone", "UTC", "--fps", "10",
            "--server", served.base, XDG_STATE_HOME=str(tmp_path / "state"),
        )  # fmt: skip
        await until(lambda: max(engine.times_s, default=0.0) >= 3.0)
        process.send_signal(signal.SIGINT)
        status, out, err = await end_of(process)
    assert (status, err) == (130, "")
    assert re.search(r"Stopped at 2026-11-29 13:4\d:\d\d\. The same command goes on", out)


async def test_a_dry_run_needs_no_server(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "recordings")
    status, out, err = await run(
        "import", str(folder), "--camera", "door", "--zone", "UTC", "--dry-run",
        "--server", "http://127.0.0.1:9",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert re.search(r"2026-11-29 13:45:00 +10 s  recordings/door\.mp4  by its tag", out)
