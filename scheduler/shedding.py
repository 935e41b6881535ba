"""Late frames go before they cost anything: before they are decoded, let alone computed.

Freshest wins: a frame that could only be seen late gives way to the newer one behind it.
"""


def is_too_late(*, age_s: float, ahead_s: float, lag_s: float, has_newer: bool) -> bool:
    """Whether a frame should be dropped rather than looked at.

    Args:
        age_s: seconds since the frame arrived.
        ahead_s: predicted seconds until the model would have seen it.
        lag_s: the target of its frame lag.
        has_newer: whether a newer frame waits. The only one there is is looked at as long as it is
            not late already, so that a prediction alone never blinds a stream.
    """
    if age_s > lag_s:
        return True
    return has_newer and age_s + ahead_s > lag_s
