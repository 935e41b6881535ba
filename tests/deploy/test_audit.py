"""What `make audit` makes of pip-audit's report, and of none."""

import json
from typing import Any

import pytest

from deploy import audit

FINE = {"name": "numpy", "version": "2.0.0", "vulns": []}
FAULTY = {
    "name": "pillow",
    "version": "1.0.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.0.1", "2.0"]}, {"id": "X", "fix_versions": []}],
}
UNKNOWN = {"name": "numpy", "skip_reason": "not found"}


def run(monkeypatch: pytest.MonkeyPatch, *packages: Any, arguments: tuple[str, ...] = ()) -> int:
    """What the script ends with when pip-audit reports these packages."""
    monkeypatch.setattr(audit, "install", lambda folder: folder)
    report = json.dumps({"dependencies": list(packages)})
    monkeypatch.setattr(audit, "ask", lambda tool, service: report)
    return audit.main(list(arguments))


def test_nothing_known_is_a_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, FINE) == 0
    assert capsys.readouterr().out == "1 packages checked, 0 known vulnerabilities\n"


def test_a_vulnerability_is_told_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, FINE, FAULTY) == 1
    assert capsys.readouterr().out.splitlines() == [
        "pillow 1.0.0: PYSEC-1 (fixed in 1.0.1, 2.0)",
        "pillow 1.0.0: X (not fixed yet)",
        "2 packages checked, 2 known vulnerabilities",
    ]


def test_a_service_that_knows_no_package_has_checked_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, UNKNOWN) == 0
    assert "NOTHING WAS CHECKED" in capsys.readouterr().out
    assert run(monkeypatch, UNKNOWN, arguments=("--must-check",)) == 2


@pytest.mark.parametrize("report", ["", "null", "{}", "[]", "no network"])
def test_what_is_no_report_has_checked_nothing(report: str) -> None:
    with pytest.raises(audit.NotChecked):
        audit.findings(report)


def test_a_second_service_is_asked_where_the_first_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = {"pypi": "", "osv": json.dumps({"dependencies": [FINE]})}
    monkeypatch.setattr(audit, "install", lambda folder: folder)
    monkeypatch.setattr(audit, "ask", lambda tool, service: reports[service])
    assert audit.main([]) == 0
    assert "1 packages checked" in capsys.readouterr().out


def test_pip_audit_is_no_package_of_ours() -> None:
    assert "pip-audit" not in audit.PINS.read_text()
    assert "pip-audit" not in (audit.ROOT / "pyproject.toml").read_text()
