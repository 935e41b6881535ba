"""`manifest`: by which `lmms-eval` finds the model where the package is installed, by its entry
point ``lmms_eval.models``. Versions without such entry points find it by `AVAILABLE_MODELS`."""

from lmms_eval.models.registry_v2 import ModelManifest

from onlooker.clients.lmms.models import AVAILABLE_MODELS


def manifest() -> list[ModelManifest]:
    """The models of this plug-in, each with the path of its class."""
    return [
        ModelManifest(
            model_id=name, simple_class_path=f"onlooker.clients.lmms.models.{name}.{kind}"
        )
        for name, kind in AVAILABLE_MODELS.items()
    ]
