"""Makes what tells a broker of MQTT, as the settings say."""

from collections.abc import Callable
from importlib.util import find_spec

from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.server.mqtt.config import MqttSection
from onlooker.server.mqtt.door import MqttDoor
from onlooker.server.mqtt.entities import Maker
from onlooker.server.mqtt.topics import MqttTopics
from onlooker.server.release import package_version

INSTALL = "pip install 'onlooker[mqtt]'"


def make_mqtt(
    settings: MqttSection,
    *,
    server: str,
    url: str | None,
    model: Callable[[], str],
    clock: Clock,
    metrics: Metrics,
) -> MqttDoor | None:
    """What tells the broker of the settings; None where they name none.

    Args:
        server: this server's name.
        url: where people see it; None where that is not known.
        model: names the model, once it is loaded.

    Raises:
        ConfigError: the extra is not installed, or a file of the settings cannot be used.
    """
    if settings.host is None:
        return None
    if find_spec("aiomqtt") is None:
        raise ConfigError(f"mqtt.host is set, and the extra for it is missing: {INSTALL}")
    from onlooker.server.mqtt.broker_link import BrokerLink, tls_context

    try:
        tls_context(settings)
    except OSError as error:
        raise ConfigError(f"mqtt.ca, mqtt.cert or mqtt.key cannot be used: {error}") from error
    topics = MqttTopics(settings.prefix, settings.discovery_prefix, server)

    def make_maker() -> Maker:
        return Maker(
            model=model(),
            version=package_version(),
            url=url,
            with_pictures=settings.pictures,
            with_answers=settings.answers,
        )

    return MqttDoor(
        settings,
        topics,
        BrokerLink(settings, topics, clock=clock, metrics=metrics),
        make_maker=make_maker,
        clock=clock,
        metrics=metrics,
    )
