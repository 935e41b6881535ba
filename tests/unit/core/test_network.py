import ssl

import httpcore
import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.network import BudgetedStream, TooSlow, WaitBudget


class Connection(httpcore.NetworkStream):
    """A connection that knows whether it was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_connection_whose_time_is_up_before_its_handshake_is_closed() -> None:
    clock, connection = ManualClock(), Connection()
    budget = WaitBudget(clock, min_bytes_per_s=0, window_s=1)
    budget.begin(1.0)
    clock.advance(2.0)
    with pytest.raises(TooSlow):
        BudgetedStream(connection, budget, clock).start_tls(ssl.create_default_context())
    assert connection.is_closed
