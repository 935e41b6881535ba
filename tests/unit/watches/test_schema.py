"""Schemas from strangers: what is one, what is refused, and what a reply has to look like."""

import json
import time
from typing import Any

import pytest

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.watches.schema import MAX_NESTING, MAX_PARTS, check_schema, for_writing, misfit

CIRCLE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "A circle",
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "blue"]},
        "count": {"type": "integer", "minimum": 0},
        "where": {"type": "array", "prefixItems": [{"type": "number"}], "maxItems": 2},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
    },
    "required": ["colour"],
    "additionalProperties": False,
}


def check(schema: Any, max_bytes: int = 4096) -> None:
    check_schema(schema, max_bytes=max_bytes, param="json_schema")


def with_part(part: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}}


def nested(depth: int) -> Any:
    """A schema of `depth` lists, or about as many, inside each other."""
    part: Any = {"type": "string"}
    for _ in range(depth):
        part = {"type": "array", "items": part}
    return part


def test_a_schema_with_everyday_keywords_is_taken() -> None:
    check(CIRCLE)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"colour": "red", "count": 3, "where": [1, "x"], "note": None}, None),
        ({"colour": "green"}, r"data.colour: 'green' is not one of ['red', 'blue']"),
        ({"colour": "red", "count": "two"}, "data.count: 'two' is not of type 'integer'"),
        ({"colour": "red", "count": True}, "data.count: True is not of type 'integer'"),
        ({"colour": "red", "count": -1}, "data.count: -1 is less than the minimum of 0"),
        ({"colour": "red", "where": ["x"]}, "data.where[0]: 'x' is not of type 'number'"),
        ({"count": 1}, "data: 'colour' is a required property"),
        ([], "data: [] is not of type 'object'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_place(value: Any, why: str | None) -> None:
    assert misfit(value, CIRCLE) == why


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("text", "json_schema.properties.a: 'text' is not of type 'object', 'boolean'"),
        ({"type": "banana"}, "json_schema.properties.a.type: 'banana' is not one of"),
        ({"type": ["string", 3]}, "json_schema.properties.a.type[1]: 3 is not one of"),
        ({"enum": []}, "json_schema.properties.a.enum: [] should be non-empty"),
        ({"minLength": -1}, "json_schema.properties.a.minLength: -1 is less than the minimum"),
        ({"minimum": float("nan")}, "json_schema: JSON knows no infinite numbers"),
        ({"colour": "red"}, "json_schema.properties.a: 'colour' is not among the keywords"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_place_and_the_reason(part: Any, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(with_part(part))
    assert says in refused.value.message
    assert refused.value.param == "json_schema"


# ---- attacks ----


@pytest.mark.parametrize(
    "part",
    [
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#"},
        {"$dynamicRef": "#meta"},
        {"$id": "http://127.0.0.1:9/schema"},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"type": "string", "pattern": "^(a+)+$"},
        {"type": "object", "patternProperties": {"^(a+)+$": True}},
        {"type": "string", "format": "regex"},
        {"allOf": [True], "unevaluatedProperties": False},
    ],
)
def test_keywords_that_fetch_recurse_or_run_away_are_refused_wherever_they_stand(part: Any) -> None:
    (word,) = {"$ref", "$dynamicRef", "$id", "$schema", "pattern", "patternProperties", "format",
               "unevaluatedProperties"} & part.keys()  # fmt: skip
    places = [
        with_part(part), with_part({"items": part}), with_part({"prefixItems": [part]}),
        with_part({"anyOf": [True, part]}), {"type": "object", "additionalProperties": part},
    ]  # fmt: skip
    for schema in places:
        with pytest.raises(InvalidRequest) as refused:
            check(schema)
        assert f"'{word}' is not among the keywords" in refused.value.message


def test_such_words_are_harmless_as_names_and_as_values() -> None:
    schema = {"type": "object", "properties": {"$ref": {"const": {"pattern": "^(a+)+$"}}}}
    check(schema)
    assert misfit({"$ref": {"pattern": "^(a+)+$"}}, schema) is None


def test_depth_size_and_number_of_parts_are_bounded() -> None:
    with pytest.raises(InvalidRequest, match=f"nested more than {MAX_NESTING} deep"):
        check(with_part(nested(MAX_NESTING)))
    with pytest.raises(InvalidRequest, match="nested more than"):
        check(with_part({"const": json.loads("[" * 900 + "]" * 900)}))
    with pytest.raises(TooLarge, match=r"bytes; 4096 are allowed \(setting watches.max_schema_"):
        check(with_part({"enum": ["x" * 4096]}))
    with pytest.raises(TooLarge, match=f"objects and lists; {MAX_PARTS} are allowed"):
        check({"type": "object", "anyOf": [{}] * MAX_PARTS})
    check({"type": "object", "anyOf": [{}] * (MAX_PARTS - 2)})


def test_a_quoted_value_is_shortened_in_the_middle() -> None:
    why = misfit({"colour": "x" * 10_000}, CIRCLE)
    assert why is not None
    assert why.endswith("'red', 'blue']")
    assert len(why) < 300


@pytest.mark.parametrize(
    ("value", "part", "says"),
    [
        (json.loads("[" * 900 + "]" * 900), True, "nested more than"),
        (10**400, {"type": "integer", "multipleOf": 0.5}, "too large to compare"),
    ],
)
def test_a_value_that_would_overturn_the_library_does_not_fit(
    value: Any, part: Any, says: str
) -> None:
    check(with_part(part))
    assert says in str(misfit({"a": value}, with_part(part)))


def test_the_work_of_a_comparison_grows_with_schema_times_value_and_no_faster() -> None:
    """Every part of the largest schema applies to every item of a list as long as a reply can be;
    the bound in seconds is a hundred times what it takes."""
    schema = with_part({"items": {"allOf": [{"anyOf": [True]}] * (MAX_PARTS // 2 - 4)}})
    check(schema)
    began_s = time.process_time()
    assert misfit({"a": [1] * 30}, schema) is None
    assert time.process_time() - began_s < 10.0


# ---- for whoever writes


def test_a_writer_is_held_to_all_but_the_lengths_of_strings() -> None:
    text = {"type": "string", "minLength": 1, "maxLength": 60}
    schema = {
        "type": "object",
        "properties": {
            "maxLength": {"anyOf": [text, {"const": {"maxLength": 3}}]},
            "list": {"items": text, "maxItems": 3, "prefixItems": [text]},
        },
        "additionalProperties": text,
    }
    bare = {"type": "string"}
    assert for_writing(schema) == {
        "type": "object",
        "properties": {
            "maxLength": {"anyOf": [bare, {"const": {"maxLength": 3}}]},
            "list": {"items": bare, "maxItems": 3, "prefixItems": [bare]},
        },
        "additionalProperties": bare,
    }
    assert misfit({"maxLength": ""}, schema) is not None, "the schema itself is as it was"
