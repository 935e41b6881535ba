"""Settings of MQTT."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from onlooker.core.settings import Section

_TOPIC_WORDS = re.compile(r"[^+#\0/]+(?:/[^+#\0/]+)*")
"""Levels of a topic without wildcards, none of them empty."""

TopicPrefix = Annotated[str, Field(min_length=1, max_length=128)]


class MqttSection(Section):
    """Alerts, health and answers of streams for a broker of MQTT, and through it for Home
    Assistant. Off until `host` is set; takes the extra ``mqtt``. Nothing is taken from there."""

    host: str | None = None
    """Name or address of the broker; None: nothing is told to one."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the broker; None: 8883 with TLS and 1883 without."""
    user: str | None = None
    """Who this server is to the broker; None: nobody in particular."""
    password: SecretStr | None = None
    """The password of `user`."""
    tls: bool = False
    """Whether to speak TLS. Without it whoever is between this server and the broker reads
    along."""
    ca: Path | None = None
    """PEM file with the authority that the broker's certificate is checked against; None: those
    that the system trusts."""
    cert: Path | None = None
    """PEM file with this server's own certificate, for brokers that ask for one; and its `key`."""
    key: Path | None = None
    """PEM file with the key of `cert`, without a passphrase."""

    prefix: TopicPrefix = "onlooker"
    """First level or levels of all topics of ours. Servers of a fleet share it."""
    discovery_prefix: TopicPrefix | None = "homeassistant"
    """Where Home Assistant looks for entities; None: it is told of none."""
    tenants: tuple[str, ...] = ("default",)
    """Tenants whose streams are told; ``*`` is every one. Whoever may read from the broker sees
    them."""
    streams: tuple[str, ...] = ("*",)
    """Names of streams that are told, where ``*`` stands for any letters, such as ``door-*``."""
    pictures: bool = True
    """Whether the evidence of the newest alert is told as a picture, which the broker keeps until
    the next one or until it is deleted."""
    answers: bool = True
    """Whether the newest answer of each stream is told, whoever asked."""

    max_queued: Annotated[int, Field(ge=1, le=65536)] = 1024
    """The most alerts that wait for the broker; when another comes, the oldest is given up."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long the broker gets to connect, and to take one message."""
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    """After one and a half times as long without a sign of life the broker tells that this server
    is away."""
    backoff_min_s: Annotated[float, Field(gt=0, le=300)] = 1.0
    """How long to wait after the first failure; the wait doubles with each further one."""
    backoff_max_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """The longest wait between two attempts to reach the broker."""
    interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How often it is looked what has changed. Alerts are told at once."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("mqtt.password is the password of mqtt.user: set that, too")
        if (self.cert is None) != (self.key is None):
            raise ValueError("mqtt.cert and mqtt.key go together: give the other one, too")
        if not self.tls and (self.ca is not None or self.cert is not None):
            raise ValueError("mqtt.ca and mqtt.cert are for TLS: set mqtt.tls to true")
        for name in ("prefix", "discovery_prefix"):
            words = getattr(self, name)
            if words is not None and not _TOPIC_WORDS.fullmatch(words):
                raise ValueError(f"mqtt.{name} is levels of a topic, such as 'site-a/onlooker'")
        return self

    @property
    def port_used(self) -> int:
        """The port of the broker."""
        return self.port or (8883 if self.tls else 1883)
