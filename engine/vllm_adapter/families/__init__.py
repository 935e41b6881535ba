"""The families of models that are served, one file each; docs/families.md says how to add one."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from onlooker.engine.vllm_adapter.families.family import Family


def _declared() -> Iterator[Family]:
    """What the files beside this one declare as their ``FAMILIES``."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        yield from getattr(importlib.import_module(module.name), "FAMILIES", ())


FAMILIES: Mapping[str, Family] = {family.architecture: family for family in _declared()}
"""All families, by the architecture that a model's config names."""

WITH_MEMORY = tuple(family.architecture for family in FAMILIES.values() if family.guarded)
"""Architectures that stream memory knows."""

GUARDED: Mapping[str, Family] = {
    family.guarded.name: family for family in FAMILIES.values() if family.guarded
}
"""Families that stream memory knows, by the name of their guarded class."""
