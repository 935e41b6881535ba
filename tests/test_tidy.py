"""House rules as tests. Each rule has its reason beside it; change the one with the other."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from deploy import reference_docs
from onlooker.core.metrics import Metrics

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = (
    "core", "scheduler", "cache_store", "engine", "watches", "streams", "server", "clients",
    "demo_model",
)  # fmt: skip

CLOCK_READS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
# The one reader, and what measures or trains and never serves.
MAY_READ_CLOCKS = (
    "core/clock.py", "benchmarks/", "demo_model/training/", "demo_model/train.py",
    "demo_model/evaluate.py",
)  # fmt: skip

MACHINE_PATH = re.compile(r"(?<![\w.$}*])/(?:home|Users|root|work)/\w+")
# Registries are the business of pip's own configuration; PyTorch's index of CPU wheels is needed.
REGISTRY = re.compile(
    r"(?<![\w.-])(?:files\.pythonhosted\.org|(?:test\.)?pypi\.org|registry\.npmjs\.org)"
)


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows or would add, without links and deleted files."""
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *patterns,
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def texts() -> Iterator[tuple[str, str]]:
    """Relative name and content of every text file."""
    for path in tracked():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue


def python_files() -> list[tuple[str, ast.Module, str]]:
    found = []
    for path in tracked("*.py"):
        source = path.read_text()
        found.append((path.relative_to(ROOT).as_posix(), ast.parse(source), source))
    return found


@pytest.fixture(scope="module")
def sources() -> list[tuple[str, ast.Module, str]]:
    return python_files()


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


# ---- packaging: a folder that is not linked is not importable, one not mapped is not shipped ----
def folders_with_code() -> set[str]:
    return {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}


def test_every_package_is_linked_and_shipped(pyproject: dict[str, Any]) -> None:
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert folders_with_code() >= set(PACKAGES)
    for folder in folders_with_code():
        link = ROOT / "src" / "onlooker" / folder
        assert link.is_symlink(), f"no link src/onlooker/{folder}"
        assert link.readlink() == Path("../..") / folder
        assert folder in wheel["only-include"], f"{folder} is not in the wheel"
        assert wheel["sources"][folder] == f"onlooker/{folder}"


def test_every_package_may_be_imported_by_one_name_only(pyproject: dict[str, Any]) -> None:
    banned = pyproject["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert folders_with_code() <= set(banned)


def test_folders_of_code_are_packages() -> None:
    folders = {path.parent for folder in folders_with_code() for path in tracked(f"{folder}/*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_the_version_is_written_in_two_places_that_agree(pyproject: dict[str, Any]) -> None:
    source = (ROOT / "src" / "onlooker" / "__init__.py").read_text()
    assert f'__version__ = "{pyproject["project"]["version"]}"' in source


def imported_packages(tree: ast.Module) -> set[str]:
    """Top-level names of all absolute imports, wherever they stand."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


# Of each extra: what comes with vLLM, and is no requirement of its own here.
WITH_VLLM = {"huggingface_hub", "torch", "transformers", "tokenizers", "safetensors", "vllm"}
MAY_IMPORT_VLLM = (
    "engine/vllm_adapter/",
    "demo_model/",
    "benchmarks/gpu_check/",
    "benchmarks/host/",
    "benchmarks/stopwatch.py",
)
WEBRTC = {"aioice", "aiortc"}
MAY_IMPORT_WEBRTC = ("streams/webrtc/seams.py",)
TRACES = {"opentelemetry"}
MAY_IMPORT_TRACES = ("server/traces/otlp.py",)
MCP = {"mcp", "httpx2"}  # the second is the first one's own client
MAY_IMPORT_MCP = (
    "server/mcp/sdk_server.py",
    "server/mcp/stdio.py",
    "server/mcp/door.py",
    "clients/examples/mcp_session.py",
)
MQTT = {"aiomqtt"}
MAY_IMPORT_MQTT = ("server/mqtt/broker_link.py",)
PUSH = {"apprise"}
MAY_IMPORT_PUSH = ("watches/apprise_notifier.py",)
MEANING = {"model2vec"}
MAY_IMPORT_MEANING = ("streams/meaning/static_embedder.py",)
VOICE = {"pipecat", "livekit"}  # of whoever uses them
MAY_IMPORT_VOICE = ("clients/eyes/",)
LMMS = {"lmms_eval"}  # of whoever uses it
MAY_IMPORT_LMMS = ("clients/lmms/models/onlooker.py", "clients/lmms/models/manifest.py")
TRAINING = {"matplotlib", "tqdm"}  # of the dev group; a server never trains


def test_what_is_imported_is_required(
    sources: list[tuple[str, ast.Module, str]], pyproject: dict[str, Any]
) -> None:
    required = {
        re.split(r"[^A-Za-z0-9._-]", line)[0].lower()
        for line in pyproject["project"]["dependencies"]
    }
    required |= {"pil" if name == "pillow" else name.replace("-", "_") for name in required}
    parts = {"starlette", "pydantic_core"}  # of fastapi and of pydantic
    known = required | parts | set(sys.stdlib_module_names) | {"onlooker"}
    strangers = {}
    for name, tree, _ in sources:
        folder = name.split("/")[0]
        if folder not in folders_with_code():
            continue
        extra = WITH_VLLM if name.startswith(MAY_IMPORT_VLLM) else set()
        extra = extra | (WEBRTC if name in MAY_IMPORT_WEBRTC else set())
        extra = extra | (TRACES if name in MAY_IMPORT_TRACES else set())
        extra = extra | (MCP if name in MAY_IMPORT_MCP else set())
        extra = extra | (MQTT if name in MAY_IMPORT_MQTT else set())
        extra = extra | (PUSH if name in MAY_IMPORT_PUSH else set())
        extra = extra | (MEANING if name in MAY_IMPORT_MEANING else set())
        extra = extra | (VOICE if name.startswith(MAY_IMPORT_VOICE) else set())
        extra = extra | (LMMS if name in MAY_IMPORT_LMMS else set())
        extra = extra | (TRAINING if folder in ("demo_model", "benchmarks") else set())
        if found := {p for p in imported_packages(tree) if p.lower() not in known | extra}:
            strangers[name] = found
    assert strangers == {}


# ---- one word for one idea: who reads a name must not have to ask which one is meant ----
def public_classes(sources: list[tuple[str, ast.Module, str]]) -> dict[str, list[str]]:
    """Public classes of the packages, by name, with the files that declare one of that name."""
    found: dict[str, list[str]] = {}
    for name, tree, _ in sources:
        if name.split("/")[0] not in folders_with_code():
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(name)
    return found


def test_no_public_class_name_is_used_twice(sources: list[tuple[str, ast.Module, str]]) -> None:
    classes = public_classes(sources)
    assert len(classes) > 300
    assert {name: files for name, files in classes.items() if len(files) > 1} == {}


def test_the_rule_of_one_name_sees_a_second_class_of_that_name() -> None:
    twice = [(f"core/{file}.py", ast.parse("class Clip: ..."), "") for file in ("one", "two")]
    assert public_classes(twice) == {"Clip": ["core/one.py", "core/two.py"]}


def explained(glossary: str) -> set[str]:
    """The words that the glossary explains."""
    terms = re.findall(r"^\| ([^|]+) \|", glossary, re.MULTILINE)
    return {word for term in terms for word in re.findall(r"[a-z]+", term)}


def singular_or_plural(noun: str) -> set[str]:
    return {noun, f"{noun}s", noun.removesuffix("s"), noun.removesuffix("es")}


def test_a_noun_that_names_files_in_two_rooms_is_in_the_glossary(
    sources: list[tuple[str, ast.Module, str]],
) -> None:
    ours = [Path(name) for name, _, _ in sources if name.split("/")[0] in folders_with_code()]
    named = Tally(path.stem for path in ours if not path.stem.startswith("__"))
    shared = {noun for noun, times in named.items() if times > 1}
    words = explained((ROOT / "docs" / "glossary.md").read_text().lower())
    assert len(shared) > 20
    assert {noun for noun in shared if not singular_or_plural(noun) & words} == set()


# ---- time comes from a Clock, or tests and replays cannot control it ----
def clock_reads(tree: ast.Module) -> list[str]:
    """Calls such as `time.monotonic()` and imports such as `from time import time`, with lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if node.attr in CLOCK_READS.get(owner, ()):
                found.append(f"line {node.lineno}: {owner}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            taken = [alias.name for alias in node.names if alias.name in CLOCK_READS["time"]]
            found += [f"line {node.lineno}: from time import {name}" for name in taken]
    return found


def test_only_core_clock_reads_clocks(sources: list[tuple[str, ast.Module, str]]) -> None:
    ours = [(n, t) for n, t, _ in sources if n.split("/")[0] in folders_with_code()]
    checked = [(n, t) for n, t in ours if not n.startswith(MAY_READ_CLOCKS)]
    assert {name: reads for name, tree in checked if (reads := clock_reads(tree))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.monotonic()",
        "from time import perf_counter",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\nread = datetime.utcnow",
    ],
)
def test_the_clock_rule_sees_a_read(code: str) -> None:
    assert len(clock_reads(ast.parse(code))) == 1


def test_the_one_clock_is_seen_by_the_rule() -> None:
    assert clock_reads(ast.parse((ROOT / "core" / "clock.py").read_text())) != []


# ---- metrics follow Prometheus' conventions ----
def declared_metrics() -> list[MetricWrapperBase]:
    return [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]


BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_tokens", "_frames", "_celsius")
IDENTIFIERS = {"stream", "stream_id", "session", "session_id", "tenant", "user", "key", "id"}


@pytest.mark.parametrize("metric", declared_metrics(), ids=lambda metric: str(metric._name))
def test_metrics_follow_the_naming_conventions(metric: MetricWrapperBase) -> None:
    name = str(metric._name)  # prometheus_client cuts `_total` off counters and adds it again
    assert re.fullmatch(r"onlooker_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_milliseconds"))
    assert metric._documentation.endswith("."), "the help is a sentence"
    # Of tenants a setting bounds how many have a label of their own (`tenants.max_labelled`).
    bounded = {"tenant"} if name.startswith("onlooker_tenant_") else set()
    assert not set(metric._labelnames) & IDENTIFIERS - bounded, "labels come from closed sets"
    assert isinstance(metric, Counter | Gauge | Histogram)
    if isinstance(metric, Histogram):
        assert name.endswith(BASE_UNITS), "a distribution is of something with a base unit"


def test_metrics_are_declared_in_the_table_only(
    sources: list[tuple[str, ast.Module, str]],
) -> None:
    makers = {"Counter", "Gauge", "Histogram", "Summary"}
    elsewhere = [
        name
        for name, tree, _ in sources
        if name.split("/")[0] in folders_with_code() and not name.startswith("core/metric_tables/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("prometheus_client")
        and makers & {alias.name for alias in node.names}
    ]
    assert elsewhere == []


# ---- nothing about the machine or the network it was written on ----
def test_no_absolute_machine_path_is_written_down() -> None:
    found = {
        f"{name}: {match.group()}"
        for name, text in texts()
        if name != "tests/test_tidy.py"
        for match in MACHINE_PATH.finditer(text)
    }
    assert found == set()


def test_no_package_registry_is_named() -> None:
    found = {
        f"{name}: {match.group()}"
        for name, text in texts()
        if name != "tests/test_tidy.py"
        for match in REGISTRY.finditer(text)
    }
    assert found == set()


@pytest.mark.parametrize("text", ["open('/home/ann/x')", "cd /work/tree", "see /Users/ann"])
def test_the_path_rule_sees_a_machine_path(text: str) -> None:
    assert MACHINE_PATH.search(text)


# ---- documents say what is true ----
def test_the_readme_names_the_two_commands_and_make_knows_them() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_room_is_in_the_table_of_rooms() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page[page.index("### Rooms") : page.index("### Promises")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {room for row in rows for room in re.findall(r"`([a-z_/]+)/`", row)}
    named |= {"cache_store/codecs", "benchmarks/scenarios", "clients"}  # said beside another
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for folder in folders_with_code()
        for path in tracked(f"{folder}/*.py")
    }
    assert rooms - named == set(), "rooms that docs/architecture.md does not tell of"
    assert {room for room in named if not (ROOT / room).is_dir()} - {"codecs"} == set()


def make_targets() -> set[str]:
    files = [ROOT / "Makefile", *ROOT.glob("*/*.mk")]
    return {
        target
        for file in files
        for target in re.findall(r"^([a-z][a-z-]*):", file.read_text(), re.MULTILINE)
    }


def test_documents_name_only_make_targets_that_exist() -> None:
    mentioned = {
        (name, target)
        for name, text in texts()
        if name.endswith(".md")
        for target in re.findall(r"`make ([a-z][a-z-]+)", text)
    }
    assert mentioned
    assert {(name, target) for name, target in mentioned if target not in make_targets()} == set()


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    links = re.findall(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    return [link for link in local if not (page.parent / link).exists()]


def test_tests_that_documents_name_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "sources.md").read_text()))
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in written} == set()


def test_links_between_documents_lead_somewhere() -> None:
    pages = tracked("*.md")
    assert len(pages) > 5
    assert {str(p.relative_to(ROOT)): broken for p in pages if (broken := broken_links(p))} == {}


def test_the_reference_of_settings_and_metrics_is_in_step() -> None:
    written = reference_docs.TARGET.read_text()
    assert written == reference_docs.render(), "run `make docs`"


def test_every_setting_is_explained() -> None:
    rows = re.findall(
        r"^\| `([a-z_.0-9]+)` \|.*\| *([^|]*) \|$", reference_docs.render(), re.MULTILINE
    )
    assert len(rows) > 40
    self_explaining = {"server.log_level"}
    assert {name for name, text in rows if not text} - self_explaining == set()
