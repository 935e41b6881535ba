"""What an error that the server reports is to whoever uses the client."""

import pytest

from onlooker.clients.python.errors import error_from, error_from_reply
from onlooker.core.errors import (
    ClientError,
    LimitReached,
    OnlookerError,
    Overloaded,
    ServiceError,
)
from onlooker.core.protocol.base import ErrorBody
from onlooker.server.errors import reply_of


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
