"""`onlooker eval`: what it finds, what it refuses, and what it tells."""

from pathlib import Path

import pytest

from onlooker.benchmarks.adapters.__main__ import main
from onlooker.benchmarks.adapters.benchmark import BENCHMARKS
from onlooker.benchmarks.adapters.item_files import ItemFiles
from onlooker.benchmarks.adapters.report_lines import lines
from onlooker.core.errors import InvalidRequest, NotFound


def test_without_a_name_all_benchmarks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert [name for name in BENCHMARKS if name not in told] == []


def test_an_annotation_file_is_taken_with_the_videos_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    file.touch()
    assert ItemFiles.found(file, None, benchmark="rvs") == ItemFiles(file, tmp_path)
    (tmp_path / "videos").mkdir()
    assert ItemFiles.found(file, None, benchmark="rvs").videos == tmp_path / "videos"
    assert ItemFiles.found(file, tmp_path, benchmark="rvs").videos == tmp_path


def test_a_folder_has_the_file_of_the_benchmark_or_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "items.json").touch()
    assert ItemFiles.found(tmp_path, None, benchmark="rvs").annotations.name == "items.json"
    (tmp_path / "rvs.json").touch()
    assert ItemFiles.found(tmp_path, None, benchmark="rvs").annotations.name == "rvs.json"


def test_of_several_files_none_is_guessed(tmp_path: Path) -> None:
    for name in ("past_a.json", "past_b.json"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidRequest, match=r"past_a\.json, past_b\.json.*--data"):
        ItemFiles.found(tmp_path, None, benchmark="streamgaze-past")


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFound, match="no annotation file"):
        ItemFiles.found(tmp_path, None, benchmark="rvs")
    (tmp_path / "rvs.json").touch()
    with pytest.raises(NotFound, match="--videos"):
        ItemFiles.found(tmp_path, tmp_path / "gone", benchmark="rvs")
    assert main(["rvs", "--data", str(tmp_path / "gone")]) == 2
    assert "gone" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--fps", "0"), ("--at-once", "0"), ("--fps", "nan")])
def test_a_rate_or_number_that_means_nothing_is_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["rvs", *arguments])


def test_a_reply_that_looked_ahead_cannot_be_overlooked() -> None:
    report = {
        "benchmark": "rvs", "answered": 2, "probes": 3, "scores": {"held": {"held": 0.5}},
        "not_shown": "a judge", "ttft_ms_p50": 12.4, "ttft_ms_p95": None, "prompt_tokens_p50": None,
        "prompt_tokens": 9, "output_tokens": 3, "without_form": 0, "leaked_expectation": 0,
        "looked_ahead": 1, "failed": 1, "failures": ["1/1 v.mp4: gone"],
    }  # fmt: skip
    told = "\n".join(lines(report))
    assert "1 of the replies RESTED ON WHAT CAME LATER" in told
    assert "0.5000" in told
    assert "TTFT p50 12 ms, p95 -" in told
    assert "v.mp4: gone" in told
