"""What a server tells the person who has just started it."""

from pathlib import Path

import pytest

from onlooker.server.cli import command_here, next_steps


def test_three_things_to_do_are_told_and_name_a_server_that_is_not_the_usual_one() -> None:
    usual = next_steps("http://127.0.0.1:8000")
    other = next_steps("http://127.0.0.1:9000")
    assert len(usual) == len(other) == 4
    assert not any("--server" in line for line in usual)
    assert all(any("9000" in part for part in line.split()) for line in other[1:])


def test_commands_are_told_as_they_can_be_typed() -> None:
    steps = next_steps("http://127.0.0.1:8000", ".venv/bin/onlooker")
    assert [" .venv/bin/onlooker watch " in line for line in steps] == [False, False, True, True]


def test_commands_for_a_server_with_a_certificate_of_its_own_making_trust_it() -> None:
    steps = next_steps("https://127.0.0.1:8000", ca=Path("/var/our keys/trust.pem"))
    assert ["--ca '/var/our keys/trust.pem'" in line for line in steps] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("started_as", "told"),
    [
        (".venv/bin/onlooker", ".venv/bin/onlooker"),
        ("/opt/our tools/onlooker", "'/opt/our tools/onlooker'"),
        ("/opt/onlooker/server/__main__.py", "/usr/bin/python -m onlooker.server"),
    ],
)
def test_a_command_that_is_not_on_the_path_is_told_as_it_was_started(
    started_as: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [started_as, "serve"])
    monkeypatch.setattr("sys.executable", "/usr/bin/python")
    assert command_here() == told
