"""Processes that do not hear Ctrl-C, also while they start."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection

from onlooker.core.signals import starting_deaf, stay_deaf
from tests.fakes.waiting import WAIT_S

_PROCESSES = multiprocessing.get_context("spawn")


class Interrupting:
    """Is read by the process that it is given to before that runs anything of its own, and
    interrupts it then, as Ctrl-C may while a process imports what it runs."""

    def __reduce__(self) -> tuple[object, tuple[int, int]]:
        return _interrupt_child, (os.getpid(), signal.SIGINT)


def _interrupt_child(parent: int, number: int) -> None:
    if os.getpid() != parent:
        os.kill(os.getpid(), number)


def _live_on(link: Connection, _: object) -> None:
    stay_deaf({signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)
    link.send(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))


def test_a_process_that_is_started_deaf_does_not_end_at_an_interrupt_while_it_starts() -> None:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_live_on, args=(theirs, Interrupting()))

    def start() -> None:
        with starting_deaf({signal.SIGINT}):
            process.start()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(WAIT_S)
    assert ours.poll(WAIT_S)
    assert ours.recv() is False, "what it starts may hear signals again"
    process.join(WAIT_S)
    assert process.exitcode == 0
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
