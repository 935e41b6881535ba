"""What the machine has for stream memory beside the model."""

from onlooker.core.errors import ConfigError
from onlooker.core.machine_memory import machine_memory_bytes
from onlooker.engine.config import EngineSection
from onlooker.engine.memory.budgets import MemoryBudgets
from onlooker.engine.vllm_adapter import seams


def memory_budgets(settings: EngineSection, *, cpu: bool) -> MemoryBudgets:
    """How much of it stream memory takes, all workers together.

    Raises:
        ConfigError: the settings ask for more than there is.
    """
    beside_bytes = None
    if not cpu:
        taken = settings.vllm.gpu_memory_utilization
        if settings.decider is not None:
            taken += settings.decider.gpu_memory_utilization
        left = seams.device_memory_bytes() * (1 - taken)
        beside_bytes = int(left * settings.vllm.tensor_parallel_size)
    found = MemoryBudgets.of(
        settings.memory,
        host_bytes=machine_memory_bytes(),
        beside_bytes=beside_bytes,
    )
    if faults := found.faults():
        raise ConfigError("; ".join(faults))
    return found
