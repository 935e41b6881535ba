"""The Makefile and what it calls: targets, what they pass on, and the summary of a test run."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests import summary

ROOT = Path(__file__).resolve().parents[2]


def dry_make(*arguments: str) -> str:
    """The commands that make would run."""
    command = ["make", "--no-print-directory", "-n", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_the_default_and_lists_the_two_commands() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(r"^  make run ", done.stdout, re.MULTILINE)
    assert re.search(r"^  make test ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("target", ["run", "serve", "test", "test-fast", "check", "bench", "dist"])
def test_every_command_sets_up_first(target: str) -> None:
    assert dry_make(target).lstrip().startswith("VENV=")
    assert "deploy/setup/setup.sh" in dry_make(target).splitlines()[0]


def test_the_demo_ends_when_told_and_only_then() -> None:
    assert "onlooker demo --seconds 60" in dry_make("run", "DEMO_SECONDS=60")
    assert "--seconds" not in dry_make("run")


def test_the_choice_of_engine_reaches_the_setup() -> None:
    assert 'EXTRA="gpu"' in dry_make("setup", "EXTRA=gpu")
    assert 'EXTRA="cpu"' in dry_make("setup")


def test_bench_without_a_scenario_lists_them() -> None:
    assert "--list" in dry_make("bench")
    assert "resend" in dry_make("bench", "SCENARIO=resend")
    assert "--list" not in dry_make("bench", "SCENARIO=resend")


def test_every_marked_test_runs_in_exactly_one_part_of_make_test() -> None:
    recipe = (ROOT / "tests" / "run_all.sh").read_text() + dry_make("test")
    parts = ["test-fast", "test-vllm", "test-browser"]
    assert all(part in recipe for part in parts)
    chosen = [re.search(r'-m "([^"]+)"', dry_make(part)) for part in parts]
    expressions = [match[1] for match in chosen if match]
    assert len(expressions) == len(parts)
    for vllm in (False, True):
        for browser in (False, True):
            marks = {"vllm": vllm, "browser": browser}
            marks |= dict.fromkeys(("gpu", "clients", "ray", "slow"), False)
            taken = [eval(expression, {}, marks) for expression in expressions]
            assert sum(taken) == 1, marks


def test_ci_runs_what_everyone_runs_and_lets_nothing_skip() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "export CI=true" in script
    assert re.search(r"^make .*\btest$", script, re.MULTILINE)


# ---- the parts of a test run ----
JUNIT = """\
<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1"></testsuite></testsuites>
"""


def test_the_summary_counts_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stages").write_text("check ok 20\ntest-fast FAIL 31\n")
    (tmp_path / "test-fast.xml").write_text(JUNIT)
    summary.main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "check", "20", "s"]
    assert lines[1].endswith("31 s  2 passed, 2 failed, 1 skipped")
    assert lines[2].split() == ["all", "51", "s"]


def test_a_part_that_fails_does_not_hide_the_later_ones(tmp_path: Path) -> None:
    fake_make = tmp_path / "make"
    fake_make.write_text('#!/bin/sh\n[ "$2" != broken ]\n')
    fake_make.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    environ = {"MAKE": str(fake_make), "VENV": str(tmp_path), "RESULTS": str(tmp_path / "results")}
    done = subprocess.run(
        [str(ROOT / "tests" / "run_all.sh"), "broken", "fine"],
        env=os.environ | environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"^FAIL +broken", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +fine", done.stdout, re.MULTILINE)
    assert done.stdout.rstrip().endswith("Failed: broken")


# ---- in CI nothing skips ----
@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_skipped_test_fails_a_run_in_ci_only(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""\
            import pytest
            def test_that_passes(): pass
            def test_that_skips(): pytest.skip("nothing there")
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=tmp_path, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    assert ("SKIPPED IN CI" in done.stdout) is bool(status)
