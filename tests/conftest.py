"""What holds for every test: in CI nothing skips.

A test may skip on a developer's machine when something it needs is not there (a browser, Redis). In
CI (`CI=true`) everything is there, so a skip means that something broke and nobody would notice.
"""

import os

import pytest


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
