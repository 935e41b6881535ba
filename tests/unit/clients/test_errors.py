"""What an error that the server reports is to whoever uses the client."""

import pytest

from onlooker.clients.python.errors import error_from
from onlooker.core.errors import ClientError, OnlookerError, Overloaded, ServiceError
from onlooker.core.protocol.base import ErrorBody


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
