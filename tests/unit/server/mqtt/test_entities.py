"""What Home Assistant is told; its own schemas look at it in `make test-clients`."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.server.mqtt.config import MqttSection
from onlooker.server.mqtt.entities import Maker, entities_of
from onlooker.server.mqtt.stream_card import MAX_STATE_CHARS, short
from onlooker.server.mqtt.topics import MqttTopics

TOPICS = MqttTopics("onlooker", "homeassistant", "cam/1:8000")
MAKER = Maker("a model", "0.1")

_CONFIG = re.compile(r"homeassistant/\w+/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")


def watch(watch_id: str, **options: Any) -> Any:
    asked = {"kind": "alert", "condition": None, "question": None, "instruction": None}
    return SimpleNamespace(watch_id=watch_id, options=SimpleNamespace(**asked | options))


def described(stream: StreamId, *watches: Any, maker: Maker = MAKER) -> dict[str, dict[str, Any]]:
    topics = TOPICS.of(stream)
    return entities_of(topics, maker, cast(Any, watches), picture_type="image/jpeg")


def test_a_watch_is_a_binary_sensor_and_comments_are_a_text() -> None:
    found = described(
        StreamId("door"),
        watch("a", condition="it is red"),
        watch("b", kind="commentary", instruction="comment"),
    )
    kinds = {topic.split("/")[1]: one["name"] for topic, one in found.items() if "watch_" in topic}
    assert kinds == {"binary_sensor": "it is red", "sensor": "comment"}


def test_any_name_makes_a_topic_and_an_id_that_home_assistant_takes_and_no_two_are_the_same() -> (
    None
):
    streams = [StreamId(name) for name in ("a.b", "a_b", "a-b")] + [tenant_stream_id("acme", "a_b")]
    topics = [topic for one in streams for topic in described(one, watch("w.1"), watch("w_1"))]
    assert len(set(topics)) == len(topics)
    assert all(_CONFIG.fullmatch(topic) for topic in topics)


def test_every_entity_is_away_when_its_server_or_its_stream_is() -> None:
    for entity in described(StreamId("door"), watch("a", condition="x")).values():
        assert [one["topic"] for one in entity["availability"]] == [
            "onlooker/servers/cam_1:8000/status", "onlooker/streams/default/door/availability",
        ]  # fmt: skip
        assert entity["availability_mode"] == "all"


def test_pictures_and_answers_may_be_left_out_and_home_assistant_altogether() -> None:
    quiet = Maker("a model", "0.1", with_pictures=False, with_answers=False)
    named = {topic.split("/")[3] for topic in described(StreamId("door"), maker=quiet)}
    assert named == {"health", "problem", "source"}
    silent = MqttTopics("onlooker", None, "cam").of(StreamId("door"))
    assert entities_of(silent, MAKER, [], picture_type="image/jpeg") == {}


def test_a_long_text_is_cut_to_what_home_assistant_takes() -> None:
    assert len(short("x" * 1000)) == MAX_STATE_CHARS
    assert short("brief") == "brief"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"password": "secret"}, "mqtt.user"),
        ({"tls": True, "cert": "a.pem"}, "mqtt.key"),
        ({"ca": "a.pem"}, "mqtt.tls"),
        ({"prefix": "a/#"}, "mqtt.prefix"),
        ({"discovery_prefix": "a//b"}, "mqtt.discovery_prefix"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        MqttSection(host="broker", **settings)
