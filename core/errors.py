"""Errors, split by who must act.

    OnlookerError
      ClientError            fix the request
        InvalidRequest         a field is missing, of the wrong type or out of range
        UnsupportedMedia       bytes that no decoder here takes
        TooLarge               bytes, pixels, words or counts over a limit
        Unauthorized           no key, or a wrong one
          TokenExpired           a short-lived token whose time is over
        Forbidden              a key or token without the scope, or what the operator does not allow
        NotFound               no such stream, response or model
        Conflict               the thing exists, or another source feeds the stream
      CapacityError          try again later
        Overloaded             a limit of this server is reached
          NoRoom                 it takes no further stream; another server may
        LimitReached           a tenant has as much of something as it may, on all servers together
        ShuttingDown           the server is draining
        OwnedElsewhere         another server of the fleet has the stream
        EngineRestarting       the engine died and is being started again
      ServiceError           our fault
        EngineFailed           one request failed in the engine; others go on
        EngineDead             the engine is gone for good; the process must be restarted
      ConfigError            at start only: the process exits with status 2

A dropped frame, a missed deadline and a cache miss are outcomes (counted), not errors. How an error
looks over HTTP or a WebSocket is decided in one table, in the server.
"""


class OnlookerError(Exception):
    """The root. The message is for the person who can act on it: no secrets, no paths."""

    code: str = "internal_error"
    """Stable text for programs."""

    retryable: bool = False
    """Whether the same call may succeed later, unchanged."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        """The field that was wrong, where there is one."""


class ClientError(OnlookerError):
    code = "invalid_request"


class InvalidRequest(ClientError):
    code = "invalid_request"


class UnsupportedMedia(ClientError):
    code = "unsupported_media"


class TooLarge(ClientError):
    code = "too_large"


class Unauthorized(ClientError):
    code = "unauthorized"


class TokenExpired(Unauthorized):
    code = "token_expired"


class Forbidden(ClientError):
    code = "forbidden"


class NotFound(ClientError):
    code = "not_found"


class Conflict(ClientError):
    code = "conflict"


class CapacityError(OnlookerError):
    code = "overloaded"
    retryable = True

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float = 1.0
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s
        """When it makes sense to try again, in seconds."""


class Overloaded(CapacityError):
    code = "overloaded"


class NoRoom(Overloaded):
    """A server takes no further stream. Where there are others, one of them may."""


class LimitReached(CapacityError):
    """A tenant has as much of something as it may have; its code is OpenAI's word."""

    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        limit: str = "",
        param: str | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.limit = limit
        """Which of a tenant's limits it is, such as ``streams``."""


class ShuttingDown(CapacityError):
    code = "shutting_down"


class OwnedElsewhere(CapacityError):
    code = "owned_elsewhere"

    def __init__(
        self,
        message: str,
        *,
        stream: tuple[str, str],
        server: str,
        url: str,
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.stream = stream
        """The stream's tenant and name."""
        self.server = server
        """The name of the server that has the stream."""
        self.url = url
        """Where that server is reached; empty where it does not say."""


class EngineRestarting(CapacityError):
    code = "engine_restarting"


class ServiceError(OnlookerError):
    code = "internal_error"
    retryable = True


class EngineFailed(ServiceError):
    code = "engine_failed"


class EngineDead(ServiceError):
    code = "engine_dead"
    retryable = False


class ConfigError(OnlookerError):
    code = "bad_configuration"
