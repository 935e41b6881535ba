import json
import logging
from collections.abc import Iterator

import pytest

from onlooker.core import errors as tree
from onlooker.core.errors import OnlookerError, Overloaded, ServiceError
from onlooker.server.errors import SlowBody, body_of, face_of, hide, reply_of


def leaves(cls: type[OnlookerError] = OnlookerError) -> Iterator[type[OnlookerError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from leaves(child)


@pytest.mark.parametrize("cls", sorted(set(leaves()), key=str))
def test_every_error_has_a_face_that_fits_who_must_act(cls: type[OnlookerError]) -> None:
    face = face_of(cls.__new__(cls))
    if issubclass(cls, tree.ClientError):
        assert 400 <= face.http_status < 500
    elif issubclass(cls, tree.OwnedElsewhere):
        assert face.http_status == 421  # try again, but with another server
    elif issubclass(cls, tree.LimitReached):
        assert face.http_status == 429  # try again, but others need not wait
    elif issubclass(cls, tree.CapacityError):
        assert face.http_status == 503
    else:
        assert face.http_status >= 500
    assert 1000 <= face.close_code < 1016


def test_the_nearest_base_in_the_table_counts() -> None:
    assert face_of(SlowBody("late")).http_status == 408
    assert face_of(tree.NotFound("no such")).http_status == 404
    assert face_of(tree.ShuttingDown("bye")).close_code == 1001


def test_a_refusal_says_when_to_come_back() -> None:
    status, headers, body = reply_of(Overloaded("full", retry_after_s=2.3))
    told = json.loads(body)["error"]
    assert (status, headers["retry-after"]) == (503, "3")
    assert (told["retryable"], told["retry_after_s"]) == (True, 2.3)


def test_a_body_repeats_the_event_and_the_field() -> None:
    body = body_of(tree.InvalidRequest("no", param="item.id"), event_id="e1")
    assert (body.param, body.event_id, body.retryable) == ("item.id", "e1", False)


def test_our_own_faults_are_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("onlooker").propagate = True
    shown = hide(ValueError("secret path"), where="test")
    assert isinstance(shown, ServiceError)
    assert "secret" not in shown.message
    assert "secret path" in caplog.text
