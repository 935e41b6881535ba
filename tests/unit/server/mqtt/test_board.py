"""What a broker should hold: the newest values only, told until it has taken them."""

from onlooker.server.mqtt.retained import RetainedBoard


def told(board: RetainedBoard) -> list[tuple[str, bytes]]:
    """Have the broker take all that is due."""
    due = board.due(100)
    for topic, value in due:
        board.note_held(topic, value)
    return due


def test_a_newer_value_takes_the_place_of_one_that_waits() -> None:
    board = RetainedBoard()
    for number in range(1000):
        board.put("a", b"%d" % number)
    assert told(board) == [("a", b"999")]
    assert board.num_due == 0


def test_a_value_that_has_changed_on_its_way_is_told_again() -> None:
    board = RetainedBoard()
    board.put("a", b"old")
    board.due(1)
    board.put("a", b"new")
    board.note_held("a", b"old")
    assert board.due(1) == [("a", b"new")]


def test_what_did_not_change_is_no_news() -> None:
    board = RetainedBoard()
    assert board.put_all({"a": b"1", "b": b"2"})
    told(board)
    assert not board.put_all({"a": b"1", "b": b"2"})
    assert told(board) == []


def test_what_was_deleted_is_told_once_and_then_not_remembered() -> None:
    board = RetainedBoard()
    board.put("a", b"1")
    board.clear(["a"])
    assert told(board) == [("a", b"")]
    board.tell_again()
    assert told(board) == []


def test_another_broker_is_told_everything() -> None:
    board = RetainedBoard()
    board.put_all({"a": b"1", "b": b"2"})
    told(board)
    board.leave(["b"])
    board.tell_again()
    assert told(board) == [("a", b"1")]


def test_a_value_that_is_put_once_is_told_and_not_remembered() -> None:
    board = RetainedBoard()
    board.put("a", b"online")
    told(board)
    board.put_once("a", b"offline")
    assert told(board) == [("a", b"offline")]
    board.tell_again()
    assert told(board) == []


def test_a_value_that_comes_after_one_that_is_put_once_is_remembered() -> None:
    board = RetainedBoard()
    board.put_once("a", b"offline")
    board.put("a", b"online")
    assert told(board) == [("a", b"online")]
    board.tell_again()
    assert told(board) == [("a", b"online")]
