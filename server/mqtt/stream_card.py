"""`StreamCard`: what a broker should hold of one stream."""

import json
from collections.abc import Mapping
from typing import Any

from onlooker.server.mqtt.entities import Maker, entities_of
from onlooker.server.mqtt.topics import ONLINE, StreamTopics
from onlooker.streams.events import AnswerFinished
from onlooker.streams.stream import Stream
from onlooker.watches.alert import Alert
from onlooker.watches.outlets import AlertPicture
from onlooker.watches.watch import Watch
from onlooker.watches.wire import alert_object

MAX_STATE_CHARS = 255
"""The most characters that Home Assistant takes as the state of an entity."""


class StreamCard:
    """Remembers the newest alerts and the newest answer, and writes it all down."""

    def __init__(self, stream: Stream, topics: StreamTopics, maker: Maker, server: str) -> None:
        """`maker`: of the devices that Home Assistant is told of. `server`: this server's name."""
        self._stream, self.topics = stream, topics
        self._maker, self._server = maker, server
        self._alerts: dict[str, Alert] = {}
        """The newest of each watch that there is."""
        self._answer: AnswerFinished | None = None
        self._evidence_s: tuple[float, float] | None = None
        """The span of stream time that the picture is of; None where it is not known."""
        self._picture_type = "image/jpeg"

    def note_alert(self, alert: Alert) -> None:
        """A watch has said this."""
        self._alerts[alert.watch_id] = alert

    def note_answer(self, answer: AnswerFinished) -> None:
        """The stream has answered this."""
        self._answer = answer

    def note_picture(self, alert: Alert, picture: AlertPicture) -> None:
        """This is the picture now, of that alert."""
        self._evidence_s = (alert.start_s, alert.end_s)
        self._picture_type = picture.media_type

    def forget(self, start_s: float, end_s: float) -> list[str]:
        """Forget what tells of a span of stream time; returns topics that must hold nothing
        more, since what they hold is of that span, or is not known."""
        self._alerts = {
            watch_id: alert
            for watch_id, alert in self._alerts.items()
            if alert.start_s > end_s or alert.end_s < start_s
        }
        gone = []
        if self._answer is None or self._answer.asked_s >= start_s:
            self._answer = None
            gone.append(self.topics.answer)
        evidence_s = self._evidence_s
        if evidence_s is None or (evidence_s[0] <= end_s and evidence_s[1] >= start_s):
            self._evidence_s = None
            gone += [self.topics.picture, self.topics.alert]
        return gone

    def values(self) -> dict[str, bytes]:
        """What the broker should hold now, but for the newest alert and its picture."""
        stream, topics = self._stream, self.topics
        values = {topics.availability: ONLINE, topics.state: _json(self._state())}
        if self._answer is not None:
            values[topics.answer] = _json(_answered(self._answer))
        watches = stream.watches.watches()
        for watch in watches:
            values[topics.watch(watch.watch_id)] = _json(self._watched(watch))
        entities = entities_of(topics, self._maker, watches, picture_type=self._picture_type)
        for topic, entity in entities.items():
            values[topic] = _json(entity)
        self._alerts = {one.watch_id: self._alerts[one.watch_id] for one in watches
                        if one.watch_id in self._alerts}  # fmt: skip
        return values

    def _state(self) -> dict[str, Any]:
        status = self._stream.status()
        source = status.last_source
        return {
            "stream": self._stream.name,
            "server": self._server,
            "health": "ok" if status.trouble is None else status.trouble.value,
            "source": "none" if source is None else source.state.value,
            "source_reason": None if source is None else source.reason or None,
            "persistent": self._stream.options.persistent,
        }

    def _watched(self, watch: Watch) -> dict[str, Any]:
        alert = self._alerts.get(watch.watch_id)
        options = watch.options
        state: str | None
        if options.kind == "alert":
            state = "ON" if watch.is_told else "OFF"
        else:
            state = None if alert is None else short(alert.text)
        asked = options.condition or options.question or options.instruction
        attributes: dict[str, Any] = {"watch": watch.watch_id, "kind": options.kind, "asks": asked,
                      "watching": watch.state, "alerts": watch.counts.alerts}  # fmt: skip
        if alert is not None:
            attributes["alert"] = told(alert, self._stream)
        return {"state": state, "attributes": attributes}


def told(alert: Alert, stream: Stream) -> dict[str, Any]:
    """An alert as every door tells it, but for its picture, which has a topic of its own."""
    name = None if stream.album is None else stream.name
    return alert_object(alert, stream=name).model_dump(mode="json", exclude={"frame"})


def message(alert: Alert, *, stream: str, has_album: bool) -> bytes:
    """What is told when an alert is raised: the body of a webhook, without the picture."""
    body = alert_object(alert, stream=stream if has_album else None)
    return _json({"type": "stream.alert", "stream": stream,
                  "alert": body.model_dump(mode="json", exclude={"frame"})})  # fmt: skip


def alert_id(value: bytes) -> str | None:
    """The id of the alert that a broker holds; None where it holds none of ours."""
    try:
        found = json.loads(value)["alert"]["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def owner_of(value: bytes) -> tuple[str, bool] | None:
    """Which server a broker's state of a stream is of, and whether the stream may come back; None
    where it is none of ours."""
    try:
        state = json.loads(value)
        return str(state["server"]), bool(state["persistent"])
    except (ValueError, KeyError, TypeError):
        return None


def short(text: str) -> str:
    """A text as Home Assistant takes it for a state."""
    return text if len(text) <= MAX_STATE_CHARS else f"{text[: MAX_STATE_CHARS - 1]}…"


def _answered(answer: AnswerFinished) -> dict[str, Any]:
    return {
        "state": short(answer.text) or None,
        "attributes": {
            "text": answer.text,
            "asked_s": answer.asked_s,
            "response": str(answer.response_id),
            "status": answer.finish_reason.status,
        },
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
