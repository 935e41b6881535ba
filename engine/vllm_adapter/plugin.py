"""vLLM's plug-in entry point: runs in every process that vLLM starts."""

ARCHITECTURES = {
    "OnlookerQwen3VL": "onlooker.engine.vllm_adapter.segments.model:GuardedQwen3VL",
}
"""Model classes by the architecture name under which segment mode asks for them."""


def register() -> None:
    """Tell vLLM about our model classes; imports none of them yet."""
    from vllm import ModelRegistry

    for name, path in ARCHITECTURES.items():
        ModelRegistry.register_model(name, path)
