"""Factories of tickets and jobs."""

from typing import Any

from onlooker.scheduler.job import Job
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket


def make_ticket(name: RequestClass, due_at_s: float = 1.0, **options: Any) -> Ticket:
    return Ticket(name, **{"arrived_at_s": 0.0, "due_at_s": due_at_s, **options})


def make_job(key: str, name: RequestClass, due_at_s: float = 1.0, **options: Any) -> Job:
    """A job of 40 tokens; of class DECODE one that is due its next token at `due_at_s`."""
    if name is RequestClass.DECODE:
        options = {"num_tokens": 1, "next_token_due_at_s": due_at_s, **options}
    return Job(key, make_ticket(name, due_at_s), **{"num_tokens": 40, **options})
