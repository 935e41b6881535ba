"""What holds for every test: in CI nothing skips, and no test runs for ever.

A test may skip on a developer's machine when something it needs is not there (a browser, Redis). In
CI (`CI=true`) everything is there, so a skip means that something broke and nobody would notice.

pytest-timeout ends a test that runs too long, by an exception. Hypothesis would take that exception
for a failing example and try the example again, for ever and now without a limit; and an event loop
would put it away if it came in the midst of a task that nobody awaits. So the exception is one that
Hypothesis lets through, and it comes again until the test has ended.

How long one example of a Hypothesis test takes says how busy the machine is, so there is no
deadline for it.
"""

import os
import signal
from collections.abc import Generator
from types import FrameType

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

AGAIN_S = 5.0
"""Until a test that has not ended at its limit is told so again."""

hypothesis_settings.register_profile(
    "onlooker",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
hypothesis_settings.load_profile("onlooker")


class TimeLimit(BaseException):
    """A test has reached its time limit. Not an `Exception`: see above."""


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer() -> Generator[None, object, object]:
    """Have pytest-timeout's signal raise `TimeLimit`, again and again."""
    result = yield
    fail = signal.getsignal(signal.SIGALRM)
    if not callable(fail):
        return result  # the limit is kept in another way than by a signal

    def raise_limit(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        try:
            fail(number, frame)
        except pytest.fail.Exception as error:
            raise TimeLimit(str(error)) from None

    signal.signal(signal.SIGALRM, raise_limit)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: "pytest.CallInfo[None]",
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No news of the limit while a report of it is made, which takes long on a busy machine: a
    signal in the middle of that ends the whole run."""
    is_over = call.excinfo is not None and call.excinfo.errisinstance(TimeLimit)
    if is_over:
        signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        return (yield)
    finally:
        if is_over:  # what tidies up after the test may hang, too
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)


def _forbidden_skips(config: pytest.Config) -> list[str]:
    if os.environ.get("CI") not in ("1", "true"):
        return []
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    return [report.nodeid for report in skipped]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return  # the process that gathers all results decides
    if _forbidden_skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for nodeid in _forbidden_skips(config):
        terminalreporter.write_line(f"SKIPPED IN CI, which counts as a failure: {nodeid}", red=True)
