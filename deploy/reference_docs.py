"""Writes docs/reference.md: every setting and every metric, from the code that declares them.

`make docs` writes it; a test fails when it is not in step. `--check` only compares.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from onlooker.core.metrics import Metrics
from onlooker.server.config import Settings

TARGET = Path(__file__).resolve().parents[1] / "docs" / "reference.md"

HEADER = """\
# Reference: settings and metrics

Generated from the code by `make docs`; what the parts are for is told in
[operations.md](operations.md).

## Settings

Defaults < TOML file (`ONLOOKER_CONFIG=path`) < environment < command line. The environment's word
for `server.port` is `ONLOOKER_SERVER__PORT`, the command line's `--set server.port=9000`. `onlooker
config` prints the settings in effect.

Texts are read by one rule, from the environment, from flags and in the file: a list is `a,b,c` or
JSON (`["a", "b"]`; take it for items with commas), and empty for an empty text; a section is a JSON
object; `null` is nothing, where a setting may be nothing.
"""


def render() -> str:
    """The whole page."""
    parts = [HEADER]
    schema = Settings.model_json_schema()
    for dotted, section, without in _sections(schema):
        parts.append(f"### `[{dotted}]`\n\n{_first_line(section)}{without}\n")
        rows = _rows(dotted, section, schema["$defs"])
        parts.append(_table(["setting", "type", "default", "what it does"], rows))
    parts.append("## Metrics\n\nOn `/metrics`, in Prometheus' text format.\n")
    parts.append(_table(["metric", "type", "labels", "what it counts"], _metric_rows()))
    return "\n".join(parts)


def _sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every section with its dotted name, and what holds where it is left out, if it may be;
    parents first."""
    definitions = schema["$defs"]
    waiting = [("", schema)]
    while waiting:
        dotted, section = waiting.pop(0)
        for name, field in section["properties"].items():
            child = _section(field, definitions)
            if child is not None:
                path = f"{dotted}.{name}".lstrip(".")
                without = f" Optional. {_first_line(field)}" if "anyOf" in field else ""
                yield path, child, without.rstrip()
                waiting.append((path, child))


def _section(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The section that a field holds, or may hold; None for a plain value."""
    for option in field.get("anyOf", [field]):
        found: dict[str, Any] = definitions.get(_referred(option), {})
        if "properties" in found:
            return found
    return None


def _referred(field: dict[str, Any]) -> str:
    """The name of the definition that a field refers to; empty where there is none."""
    return str(field.get("$ref", "")).removeprefix("#/$defs/")


def _resolved(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A field with what its reference says, where it has one."""
    return {**definitions.get(_referred(field), {}), **field}


def _rows(dotted: str, section: dict[str, Any], definitions: dict[str, Any]) -> list[list[str]]:
    fields = section["properties"].items()
    plain = {name: field for name, field in fields if _section(field, definitions) is None}
    return [
        [
            f"`{dotted}.{name}`",
            _type(field, definitions),
            _default(name, field.get("default")),
            _one_line(field.get("description", "")),
        ]
        for name, field in plain.items()
    ]


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    field = _resolved(field, definitions)
    if "anyOf" in field:
        return " or ".join(_type(option, definitions) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = {"null": "nothing", "string": "text", "array": "list", "boolean": "yes/no"}.get(
        field.get("type", ""), field.get("type", "text")
    )
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[name]}" for name, sign in signs.items() if name in field]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _default(name: str, value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none" if value is None else "empty"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"`{','.join(str(item) for item in value)}`"
    if name.endswith("_bytes"):
        return _bytes(int(value))
    return f"`{value}`"


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size and count % size == 0:
            return f"`{count}` ({count // size} {unit})"
    return f"`{count}`"


def _metric_rows() -> list[list[str]]:
    declared = [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]
    return [
        [
            f"`{_exposed_name(metric)}`",
            str(metric._type),
            ", ".join(f"`{label}`" for label in metric._labelnames) or "",
            _one_line(metric._documentation),
        ]
        for metric in declared
    ]


def _exposed_name(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else str(metric._name)


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _first_line(section: dict[str, Any]) -> str:
    return _one_line(str(section.get("description", "")).split("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def main(arguments: list[str]) -> int:
    page = render()
    if "--write" in arguments:
        TARGET.write_text(page)
        return 0
    if TARGET.read_text() != page:
        print(f"docs/{TARGET.name} is not in step with the code; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
