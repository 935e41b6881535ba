"""The chart: what Helm makes of it, held to Kubernetes' schemas and to the server's settings."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from onlooker.core.metrics import Metrics
from onlooker.core.settings import load_settings
from onlooker.server.config import Settings, check_exposure

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "onlooker"
OLDEST, NEWEST = "1.27", "1.37"
HELM = shutil.which("helm", path=str(Path(sys.executable).parent)) or shutil.which("helm")
needs_helm = pytest.mark.skipif(
    HELM is None, reason="no helm here; deploy/setup/helm.sh brings it where it may"
)

SECRETS: dict[str, Any] = {"secret": {"apiKeys": ["a-key-for-tests"], "redisPassword": "secret"}}
CUSTOM_KINDS = {"HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
"""Kinds that Kubernetes itself does not know."""

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a Redis outside": {
        "redis": {"enabled": False, "url": "rediss://:pw@redis.example:6380/0"},
        "secret": {"apiKeys": ["a-key-for-tests"]},
    },
    "a secret that is there": {"secret": {"existing": "mine"}},
    "no door": {"door": {"enabled": False}, "service": {"type": "LoadBalancer"}},
    "hpa": {"autoscaling": {"kind": "hpa"}, "deletionCost": {"enabled": False}},
    "all that can be had": {
        "image": {"tag": "cuda"},
        "model": "Qwen/Qwen3-VL-2B-Instruct",
        "huggingFaceSecret": "hub",
        "gpu": {"count": 1},
        "runtimeClassName": "nvidia",
        "models": {"existingClaim": "models"},
        "settings": {"streams.max_streams": 64, "server.web_page": False},
        "autoscaling": {"kind": "keda", "prometheus": "http://prometheus:9090"},
        "gateway": {"enabled": True, "parentRefs": [{"name": "web"}], "hostnames": ["a.example"]},
        "monitoring": {"serviceMonitor": True, "rules": True, "dashboard": True,
                       "labels": {"release": "prometheus"}},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "ipFamily": "IPv6",
        "extraEnv": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
    },
}  # fmt: skip


def helm(folder: Path, values: dict[str, Any], *command: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    given = folder / "values.yaml"
    given.write_text(yaml.safe_dump({**SECRETS, **values}))
    return subprocess.run(
        [HELM, *command, str(CHART), "--namespace", "video", "--values", str(given)],
        capture_output=True,
        text=True,
        check=False,
    )


class Rendered:
    """The objects of one release."""

    def __init__(self, text: str) -> None:
        self.objects = [found for found in yaml.safe_load_all(text) if found]

    def one(self, kind: str, name: str) -> Any:
        [found] = [
            one for one in self.objects if one["kind"] == kind and one["metadata"]["name"] == name
        ]
        return found

    def kinds(self) -> set[str]:
        return {one["kind"] for one in self.objects}

    def pod(self, name: str = "rel-onlooker") -> Any:
        return self.one("Deployment", name)["spec"]["template"]["spec"]

    def server(self) -> Any:
        [found] = [one for one in self.pod()["containers"] if one["name"] == "server"]
        return found

    def environ(self) -> dict[str, str]:
        """What the server's container has in its environment."""
        known = {
            "api-keys": "a-key-for-tests", "redis-password": "secret", "token": "hub",
            "redis-url": "rediss://:pw@redis.example:6380/0",
            "status.podIP": "10.0.0.7", "metadata.name": "rel-onlooker-7f9-abcde",
        }  # fmt: skip
        environ: dict[str, str] = {}
        for one in self.server()["env"]:
            source = one.get("valueFrom", {})
            key = source.get("secretKeyRef", {}).get("key")
            key = key or source.get("fieldRef", {}).get("fieldPath")
            value = one["value"] if key is None else known[key]
            # As Kubernetes does: of what stands before.
            environ[one["name"]] = re.sub(r"\$\((\w+)\)", lambda name: environ[name[1]], value)
        return environ


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rendered]:
    """The objects of each variant."""
    folder = tmp_path_factory.mktemp("helm")
    found = {}
    for variant, values in VARIANTS.items():
        done = helm(folder, values, "template", "rel")
        assert done.returncode == 0, done.stderr
        found[variant] = Rendered(done.stdout)
    return found


@needs_helm
def test_helm_finds_nothing_to_say_against_the_chart(tmp_path: Path) -> None:
    done = helm(tmp_path, {}, "lint", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(renders: dict[str, Rendered], version: str) -> None:
    distinct = {
        json.dumps(one, sort_keys=True): one
        for rendered in renders.values()
        for one in rendered.objects
        if one["kind"] not in CUSTOM_KINDS
    }
    assert len(distinct) > 20
    for one in distinct.values():
        kubernetes_validate.validate(one, version, strict=True)


@needs_helm
def test_the_rule_of_fields_sees_one_that_is_misspelt(renders: dict[str, Rendered]) -> None:
    wrong = json.loads(json.dumps(renders["as it is"].one("Deployment", "rel-onlooker")))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@needs_helm
def test_all_that_can_be_had_is_had(renders: dict[str, Rendered]) -> None:
    assert renders["all that can be had"].kinds() >= CUSTOM_KINDS
    assert renders["as it is"].kinds() & CUSTOM_KINDS == set()
    assert "HorizontalPodAutoscaler" in renders["hpa"].kinds()
    assert "replicas" not in renders["hpa"].one("Deployment", "rel-onlooker")["spec"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"secret": {}}, "set secret.apiKeys"),
    ({"secret": {"apiKeys": ["a-key-for-tests"]}}, "set secret.redisPassword"),
    ({"redis": {"enabled": False}}, "set redis.enabled, or redis.url"),
    ({"redis": {"url": "redis://elsewhere"}}, "set one of them"),
    ({"autoscaling": {"kind": "keda"}}, "set autoscaling.prometheus"),
    ({"autoscaling": {"min": 9}}, "autoscaling.min is more than autoscaling.max"),
    ({"replicas": 40}, "raise door.maxServers"),
    ({"gateway": {"enabled": True}}, "name the Gateway in gateway.parentRefs"),
    ({"replica": 2}, "additional properties 'replica' not allowed"),
    ({"settings": {"max_streams": 2}}, "max_streams"),
    ({"drain": {"answersSeconds": "10s"}}, "got string, want integer"),
]


@needs_helm
@pytest.mark.parametrize(("values", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_cannot_work_is_refused_with_what_to_do(
    tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    done = helm(tmp_path, values, "template", "rel")
    assert done.returncode != 0
    assert told in done.stderr


# ---- the server accepts what it is given ----
@needs_helm
@pytest.mark.parametrize("variant", VARIANTS)
def test_servers_accept_their_settings_and_are_a_fleet(
    renders: dict[str, Rendered], variant: str
) -> None:
    rendered = renders[variant]
    given = {k: v for k, v in rendered.environ().items() if k.startswith("ONLOOKER_")}
    arguments = rendered.server()["args"]
    host = arguments[arguments.index("--host") + 1]
    settings = load_settings(Settings, environ=given, overrides={"server.host": host})
    check_exposure(settings.server)
    assert settings.fleet is not None
    assert settings.fleet.name == "rel-onlooker-7f9-abcde"
    assert settings.fleet.url is not None
    assert "10.0.0.7" in settings.fleet.url
    if variant == "all that can be had":
        assert settings.streams.max_streams == 64
        assert settings.server.web_page is False


@needs_helm
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_server_gets_the_time_to_hand_over_and_to_end(
    renders: dict[str, Rendered], variant: str
) -> None:
    rendered = renders[variant]
    settings = load_settings(
        Settings, environ={k: v for k, v in rendered.environ().items() if "SERVER__" in k}
    )
    ends_s = settings.server.drain_s + settings.server.close_s
    hook = rendered.server()["lifecycle"]["preStop"]["exec"]["command"]
    waits_s = float(hook[hook.index("--limit-s") + 1])
    assert waits_s >= ends_s
    assert rendered.pod()["terminationGracePeriodSeconds"] > waits_s + ends_s


@needs_helm
@pytest.mark.parametrize("variant", VARIANTS)
def test_containers_are_locked_down_bounded_and_without_rights(
    renders: dict[str, Rendered], variant: str
) -> None:
    pods = [
        one["spec"]["template"]["spec"]
        for one in renders[variant].objects
        if one["kind"] in ("Deployment", "StatefulSet")
    ]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            held = container["securityContext"]
            assert held["readOnlyRootFilesystem"] is True
            assert held["allowPrivilegeEscalation"] is False
            assert held["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert ("account" in mounts) == (container["name"] == "deletion-cost")


@needs_helm
def test_a_gpu_is_asked_for_and_kept(renders: dict[str, Rendered]) -> None:
    resources = renders["all that can be had"].server()["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in renders["as it is"].server()["resources"]["limits"]


# ---- parts find each other ----
def chosen(rendered: Rendered, labels: dict[str, str]) -> list[str]:
    """Names of what has pods with these labels."""
    return [
        one["metadata"]["name"]
        for one in rendered.objects
        if one["kind"] in ("Deployment", "StatefulSet")
        and labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()
    ]


@needs_helm
def test_services_budgets_and_policies_choose_the_pods_that_they_are_about(
    renders: dict[str, Rendered],
) -> None:
    rendered = renders["as it is"]
    server, door, redis = ["rel-onlooker"], ["rel-onlooker-door"], ["rel-onlooker-redis"]
    for kind, name, pods in (
        ("Service", "rel-onlooker-servers", server),
        ("Service", "rel-onlooker", door),
        ("Service", "rel-onlooker-redis", redis),
    ):
        assert chosen(rendered, rendered.one(kind, name)["spec"]["selector"]) == pods
    for name, pods in (("rel-onlooker", server), ("rel-onlooker-door", door)):
        budget = rendered.one("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"]
        assert chosen(rendered, budget) == pods
    for name, pods, callers in (
        ("rel-onlooker", server, [*door, *server]),
        ("rel-onlooker-redis", redis, server),
    ):
        policy = rendered.one("NetworkPolicy", name)["spec"]
        assert chosen(rendered, policy["podSelector"]["matchLabels"]) == pods
        [rule] = policy["ingress"]
        let_in = [one["podSelector"]["matchLabels"] for one in rule["from"] if "podSelector" in one]
        assert [name for labels in let_in for name in chosen(rendered, labels)] == callers


@needs_helm
def test_without_a_door_the_address_leads_to_servers(renders: dict[str, Rendered]) -> None:
    rendered = renders["no door"]
    assert chosen(rendered, rendered.one("Service", "rel-onlooker")["spec"]["selector"]) == [
        "rel-onlooker"
    ]


@needs_helm
def test_the_door_is_the_one_of_compose_and_looks_for_all_servers(
    renders: dict[str, Rendered],
) -> None:
    rendered = renders["as it is"]
    config = rendered.one("ConfigMap", "rel-onlooker-door")["data"]["haproxy.cfg"]
    assert config.strip() == (ROOT / "deploy/haproxy/haproxy.cfg").read_text().strip()
    [haproxy] = rendered.pod("rel-onlooker-door")["containers"]
    environ = {one["name"]: one["value"] for one in haproxy["env"]}
    assert set(re.findall(r"\$\{(\w+)", config)) == set(environ)
    host, port = environ["ONLOOKER_SERVERS"].split(":")
    service = rendered.one("Service", "rel-onlooker-servers")
    assert host.split(".")[:3] == [service["metadata"]["name"], "video", "svc"]
    assert int(port) == service["spec"]["ports"][0]["port"]
    asked = {haproxy[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert asked == {"/alive", "/servers"}
    images = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert haproxy["image"] == images["onlooker-door"]["image"]


@needs_helm
def test_autoscaling_asks_for_metrics_that_exist(renders: dict[str, Rendered]) -> None:
    known = {metric.name for metric in Metrics().registry.collect()}
    hpa = renders["hpa"].one("HorizontalPodAutoscaler", "rel-onlooker")["spec"]
    asked = {one["pods"]["metric"]["name"] for one in hpa["metrics"]}
    keda = renders["all that can be had"].one("ScaledObject", "rel-onlooker")["spec"]
    [trigger] = keda["triggers"]
    pattern = re.search(r'__name__=~"([^"]+)"', trigger["metadata"]["query"])
    assert pattern
    assert {name for name in known if re.fullmatch(pattern[1], name)} == asked
    assert len(asked) == 2
    assert 'service="rel-onlooker-servers"' in trigger["metadata"]["query"]


@needs_helm
def test_alerts_are_those_of_compose_but_for_one_that_autoscaling_sets_off(
    renders: dict[str, Rendered], tmp_path: Path
) -> None:
    def names(rendered: Rendered) -> list[str]:
        groups = rendered.one("PrometheusRule", "rel-onlooker")["spec"]["groups"]
        return [rule["alert"] for group in groups for rule in group["rules"]]

    [group] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    ours = [rule["alert"] for rule in group["rules"]]
    done = helm(tmp_path, {"monitoring": {"rules": True}}, "template", "rel")
    assert names(Rendered(done.stdout)) == ours
    ours.remove("OnlookerServerGone")
    assert names(renders["all that can be had"]) == ours


@needs_helm
def test_prometheus_knows_the_servers_as_the_alerts_do(renders: dict[str, Rendered]) -> None:
    rendered = renders["all that can be had"]
    monitor = rendered.one("ServiceMonitor", "rel-onlooker")["spec"]
    labels = rendered.one("Service", "rel-onlooker-servers")["metadata"]["labels"]
    assert labels[monitor["jobLabel"]] == "onlooker"
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


# ---- without Helm too ----
def test_the_values_are_what_their_schema_says() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert set(values) == set(schema["properties"]) - {"global"}


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_files_of_others_are_links_that_lead_somewhere() -> None:
    links = [path for path in (CHART / "files").iterdir() if path.is_symlink()]
    assert len(links) == 3
    assert all(path.resolve().is_relative_to(ROOT / "deploy") for path in links)
    assert all(path.exists() for path in links)
