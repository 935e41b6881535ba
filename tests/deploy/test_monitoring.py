"""Prometheus and Grafana files: every metric and label they name exists in the code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from onlooker.core.metrics import Metrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def exposed() -> dict[str, set[str]]:
    """Every sample name the server can expose, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            labels = set(metric._labelnames)
            suffixes = {
                "counter": ["_total"],
                "gauge": [""],
                "histogram": ["_bucket", "_sum", "_count"],
            }[str(metric._type)]
            for suffix in suffixes:
                found[metric._name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


SCRAPED = {"instance", "job", "service"}


def problems(expression: str) -> list[str]:
    """Names in a PromQL expression that the server does not expose."""
    known = exposed()
    metrics = set(re.findall(r"\bonlooker_\w+", expression))
    unknown = [name for name in metrics if name not in known]
    labels = set().union(*(known[name] for name in metrics if name in known)) | SCRAPED
    named = re.findall(r"by \(([^)]*)\)", expression)
    grouped = {label.strip() for group in named for label in group.split(",")}
    matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
    unknown += [f"label {label}" for label in sorted((grouped | matched) - labels)]
    if expression.count("(") != expression.count(")"):
        unknown.append("unbalanced parentheses")
    return unknown


def test_an_unknown_metric_label_or_parenthesis_is_seen() -> None:
    assert problems("rate(onlooker_frames_total[1m])") == []
    assert problems("onlooker_nothing_total") == ["onlooker_nothing_total"]
    assert problems('onlooker_frames_total{colour="red"}') == ["label colour"]
    assert problems("sum by (colour) (onlooker_frames_total)") == ["label colour"]
    assert problems("rate(onlooker_frames_total[1m]") == ["unbalanced parentheses"]


# ---- Grafana ----
@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/onlooker.json").read_text())
    return loaded


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_dashboard_asks_for_metrics_that_exist(dashboard: dict[str, Any]) -> None:
    asked = [t["expr"] for panel in panels(dashboard) for t in panel["targets"]]
    asked += [v["query"]["query"] for v in dashboard["templating"]["list"]]
    assert len(asked) > 15
    plain = [re.sub(r"label_values\((\w+), \w+\)", r"\1", expression) for expression in asked]
    assert {e: found for e in plain if (found := problems(e))} == {}


def test_the_dashboard_shows_every_metric_there_is(dashboard: dict[str, Any]) -> None:
    shown = set(re.findall(r"\bonlooker_\w+", json.dumps(dashboard)))
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    declared = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed()}
    assert declared - stems == set()


def test_panels_are_explained_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        box = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(box["x"], box["x"] + box["w"])
            for y in range(box["y"], box["y"] + box["h"])
        }
        assert not cells & taken, panel["title"]
        assert box["x"] + box["w"] <= 24
        taken |= cells
    assert all(panel["description"] for panel in panels(dashboard))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_panels_use_the_provisioned_source(dashboard: dict[str, Any]) -> None:
    provisioned = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    uids = {source["uid"] for source in provisioned["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels(dashboard)} <= uids


def test_grafana_reads_dashboards_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/onlooker.yml").read_text())
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    path = provider["providers"][0]["options"]["path"]
    assert mounts["./deploy/grafana/dashboards"] == path
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{path}/onlooker.json"


# ---- Prometheus ----
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_metrics_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"]) == []
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    operations = (DEPLOY.parent / "docs" / "operations.md").read_text()
    assert rule["alert"] in operations, "docs/operations.md has the long form"


def test_prometheus_scrapes_services_that_compose_starts() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    asked = [d for config in scrape["scrape_configs"] for d in config["dns_sd_configs"]]
    names = {name for discovery in asked for name in discovery["names"]}
    servers = {
        name for name, one in compose["services"].items() if one["image"].startswith("onlooker:")
    }
    assert names == servers
    assert {discovery["port"] for discovery in asked} == {8000}
    assert [(DEPLOY / "prometheus" / name).exists() for name in scrape["rule_files"]] == [True]
