"""Masks and retention as an operator sets them."""

from typing import Any

import pytest

from onlooker.core.errors import ConfigError
from onlooker.core.settings import load_settings
from onlooker.server.config import Settings
from onlooker.streams.masks import Mask

LEFT = '[{"polygon": [[0, 0], [0.5, 0], [0.5, 1]], "effect": "blur"}]'
NAME = "ONLOOKER_STREAMS__PRIVACY__MASKS"


def test_masks_are_read_from_the_environment_as_json() -> None:
    settings = load_settings(Settings, environ={NAME: LEFT})
    assert settings.streams.privacy.masks == (Mask(((0, 0), (0.5, 0), (0.5, 1)), "blur"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("left half", "JSON list"),
        ('[{"polygon": [[0, 0], [1, 0]]}]', "three corners"),
        ('[{"polygon": [[0, 0], [1, 0], [1, 7]]}]', "from 0 to 1"),
        ('[{"polygon": [[0, 0], [1, 0], [1, 1]], "effect": "sepia"}]', "black"),
    ],
)
def test_what_is_no_mask_is_refused_with_the_reason(text: str, words: str) -> None:
    values: dict[str, Any] = {NAME: text}
    with pytest.raises(ConfigError, match=words):
        load_settings(Settings, environ=values)
