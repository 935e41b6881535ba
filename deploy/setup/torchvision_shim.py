"""Lets a CUDA build of torchvision be imported beside a CPU build of torch.

Such a torchvision cannot load its compiled operators, and while it is imported it looks for the
schemas of two of them, which then do not exist: "operator torchvision::nms does not exist".
transformers and vLLM need only its transforms, which are plain Python. So on the first import of
torchvision this hook defines the two schemas and steps aside. It has to sit in a `.pth` file
because transformers imports torchvision before any plugin could, in every process of vLLM.

`install_shim.py` copies this file into the environment, and only where the plain import fails.
"""

import importlib
import sys
from typing import Any

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_libraries: list[Any] = []  # torch drops a library's definitions when the object is collected


class TorchvisionFinder:
    """Never finds anything; acts when torchvision is looked for, once."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name != "torchvision":
            return
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        try:
            torch_library: Any = importlib.import_module("torch.library")
        except ImportError:  # no torch: torchvision's own error says so better
            return
        if _libraries:  # looked for while torch itself was being imported, or by a second finder
            return
        library = torch_library.Library("torchvision", "DEF")
        for operator in OPERATORS:
            library.define(operator + SCHEMA)
        _libraries.append(library)


def install() -> None:
    """Put the hook in front of the import system, once however often `.pth` files are read. Cheap:
    nothing of torch is imported yet."""
    if any(type(finder).__name__ == TorchvisionFinder.__name__ for finder in sys.meta_path):
        return
    finder: Any = TorchvisionFinder()
    sys.meta_path.insert(0, finder)
