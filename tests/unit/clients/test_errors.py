"""What an error that the server reports is to whoever uses the client."""

import pytest

from onlooker.clients.python.errors import _all_below, error_from, error_from_reply
from onlooker.core.errors import (
    CapacityError,
    ClientError,
    LimitReached,
    OnlookerError,
    Overloaded,
    ServiceError,
)
from onlooker.core.protocol.base import ErrorBody
from onlooker.server.errors import reply_of

CODES = sorted({kind.code for kind in _all_below(OnlookerError) if "code" in vars(kind)})


@pytest.mark.parametrize(
    ("kind", "retryable", "raised"),
    [
        ("overloaded_error", True, Overloaded),
        ("server_error", True, ServiceError),
        ("invalid_request_error", False, ClientError),
    ],
)
def test_an_error_of_a_code_that_is_unknown_here_is_what_its_type_says(
    kind: str, retryable: bool, raised: type[OnlookerError]
) -> None:
    """Some codes are the server's own, and a client comes back only where it makes sense."""
    error = error_from(ErrorBody(type=kind, code="of_the_server", message="", retryable=retryable))
    assert isinstance(error, raised)
    assert (error.code, error.retryable) == ("of_the_server", retryable)


def test_a_limit_of_the_tenant_is_known_with_its_name_and_when_to_come_again() -> None:
    told = LimitReached("enough", limit="streams", retry_after_s=5.0)
    status, _, body = reply_of(told)
    error = error_from_reply(status, body.decode())
    assert isinstance(error, LimitReached)
    assert (error.message, error.limit, error.retry_after_s) == ("enough", "streams", 5.0)


@pytest.mark.parametrize("code", [*CODES, "not_thought_of_yet"])
def test_every_error_that_a_server_may_send_can_be_raised(code: str) -> None:
    body = ErrorBody(type="server_error", code=code, message="why", param="id", retry_after_s=3.0)
    error = error_from(body)
    assert error.message == "why"
    assert error.code == code


def test_a_stream_that_another_server_owns_is_asked_for_again_when_the_server_says() -> None:
    told = ErrorBody(type="overloaded_error", code="owned_elsewhere", message="b has it",
                     retry_after_s=3.0)  # fmt: skip
    error = error_from(told)
    assert isinstance(error, CapacityError)
    assert error.retryable
    assert error.retry_after_s == 3.0
