"""Tickets cross processes as plain data."""

import json

from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo import Tier
from onlooker.scheduler.ticket import Ticket


def test_a_ticket_survives_being_written_down() -> None:
    ticket = Ticket(RequestClass.CHECK, 12.5, 13.25, 0.1, "door", Tier.BACKGROUND)
    params = json.loads(json.dumps({"kv_transfer_params": {}, **ticket.to_params()}))
    assert Ticket.from_params(params) == ticket


def test_a_request_without_a_ticket_has_none() -> None:
    assert Ticket.from_params(None) is None
    assert Ticket.from_params({"kv_transfer_params": {}}) is None
