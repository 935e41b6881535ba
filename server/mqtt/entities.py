"""What Home Assistant is told of a stream: a device, and an entity for everything about it.

Each entity is described in the words of Home Assistant's MQTT discovery, in one retained message of
its own, so that also other programs and old versions understand it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from onlooker.core.protocol.stream_objects import HealthWord
from onlooker.server.mqtt.topics import StreamTopics, watch_entity
from onlooker.watches.watch import Watch


@dataclass(frozen=True, slots=True)
class Maker:
    """What the devices of a server have in common."""

    model: str
    version: str
    url: str | None = None
    """Where people see the server; None where it is not known."""
    with_pictures: bool = True
    with_answers: bool = True


def entities_of(
    topics: StreamTopics, maker: Maker, watches: Iterable[Watch], *, picture_type: str
) -> dict[str, dict[str, Any]]:
    """Descriptions of all entities of a stream, by the topics that they are told under; none where
    Home Assistant is told of nothing."""
    described = [_health(topics), _problem(topics), _source(topics)]
    if maker.with_answers:
        described.append(_answer(topics))
    if maker.with_pictures:
        described.append(_picture(topics, picture_type))
    described += [_watch(topics, watch) for watch in watches]
    shared = _shared(topics, maker)
    found = {}
    for kind, entity, description in described:
        topic = topics.config(kind, entity)
        if topic is not None:
            found[topic] = {**description, **shared, "unique_id": f"{topics.device}_{entity}"}
    return found


MAX_NAME_CHARS = 100
"""The most characters of what a watch asks that become its name."""

_Described = tuple[str, str, dict[str, Any]]
"""The kind of an entity, its name among those of the stream, and what is said of it."""


def _shared(topics: StreamTopics, maker: Maker) -> dict[str, Any]:
    stream = topics.base.rsplit("/", 1)[1]
    device: dict[str, Any] = {
        "identifiers": [topics.device],
        "name": stream,
        "manufacturer": "Onlooker",
        "model": maker.model,
        "sw_version": maker.version,
    }
    if maker.url is not None:
        device["configuration_url"] = maker.url
    return {
        "availability": [{"topic": topics.server_status}, {"topic": topics.availability}],
        "availability_mode": "all",
        "device": device,
        "origin": {"name": "Onlooker", "sw_version": maker.version},
        "qos": 1,
    }


def _health(topics: StreamTopics) -> _Described:
    return (
        "sensor",
        "health",
        {
            "name": "Camera health",
            "device_class": "enum",
            "options": list(get_args(HealthWord)),
            "state_topic": topics.state,
            "value_template": "{{ value_json.health }}",
            "json_attributes_topic": topics.state,
            "entity_category": "diagnostic",
        },
    )


def _problem(topics: StreamTopics) -> _Described:
    return (
        "binary_sensor",
        "problem",
        {
            "name": "Camera problem",
            "device_class": "problem",
            "state_topic": topics.state,
            "value_template": "{{ 'OFF' if value_json.health == 'ok' else 'ON' }}",
            "entity_category": "diagnostic",
        },
    )


def _source(topics: StreamTopics) -> _Described:
    return (
        "binary_sensor",
        "source",
        {
            "name": "Video",
            "device_class": "connectivity",
            "state_topic": topics.state,
            "value_template": "{{ 'ON' if value_json.source == 'playing' else 'OFF' }}",
            "entity_category": "diagnostic",
        },
    )


def _answer(topics: StreamTopics) -> _Described:
    return (
        "sensor",
        "answer",
        {
            "name": "Last answer",
            "icon": "mdi:comment-text-outline",
            "state_topic": topics.answer,
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": topics.answer,
            "json_attributes_template": "{{ value_json.attributes | tojson }}",
        },
    )


def _picture(topics: StreamTopics, picture_type: str) -> _Described:
    return (
        "image",
        "picture",
        {"name": "Evidence", "image_topic": topics.picture, "content_type": picture_type},
    )


def _watch(topics: StreamTopics, watch: Watch) -> _Described:
    options = watch.options
    asked = options.condition or options.question or options.instruction or watch.watch_id
    topic = topics.watch(watch.watch_id)
    description = {
        "name": asked[:MAX_NAME_CHARS],
        "state_topic": topic,
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": topic,
        "json_attributes_template": "{{ value_json.attributes | tojson }}",
    }
    if options.kind == "alert":
        return "binary_sensor", watch_entity(watch.watch_id), description
    description["icon"] = "mdi:comment-eye-outline"
    return "sensor", watch_entity(watch.watch_id), description
