"""Home Assistant's own schemas look at entities that it is told of, by the topics of a file."""

import json
import os
from pathlib import Path

from homeassistant.components.mqtt import binary_sensor, image, sensor
from homeassistant.components.mqtt.discovery import TOPIC_MATCHER

KINDS = {"binary_sensor": binary_sensor, "image": image, "sensor": sensor}

taken = []
for topic, entity in json.loads(Path(os.environ["ENTITIES"]).read_text()).items():
    _, _, rest = topic.partition("/")
    assert TOPIC_MATCHER.match(rest), topic
    kind = rest.partition("/")[0]
    KINDS[kind].DISCOVERY_SCHEMA(entity)
    taken.append(kind)
print(json.dumps(sorted(taken)))
