"""What a server tells the person who has just started it."""

from onlooker.server.cli import next_steps


def test_three_things_to_do_are_told_and_name_a_server_that_is_not_the_usual_one() -> None:
    usual = next_steps("http://127.0.0.1:8000")
    other = next_steps("http://127.0.0.1:9000")
    assert len(usual) == len(other) == 4
    assert not any("--server" in line for line in usual)
    assert all(any("9000" in part for part in line.split()) for line in other[1:])


def test_commands_are_told_as_they_can_be_typed() -> None:
    steps = next_steps("http://127.0.0.1:8000", ".venv/bin/onlooker")
    assert [" .venv/bin/onlooker watch " in line for line in steps] == [False, False, True, True]
