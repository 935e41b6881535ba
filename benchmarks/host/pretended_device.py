"""`PretendedDevice`: tensors that lie in ordinary memory and behave as if they lay on a GPU.

For counting what a GPU would make the processor wait for, where there is no GPU. Tensors of the
pretended device cannot be mixed with the host's, as on a real one. While the mode is entered, it
notes each operation that waits until the device has done all it was given:

- copies to the host, but those with ``non_blocking`` into pinned memory;
- copies to the device, but those with ``non_blocking`` out of pinned memory (others are staged);
- what reads a value or a shape out of a tensor: ``item``, ``bool``, ``equal``, ``nonzero``,
  ``masked_select``, ``unique``, indices that are a mask or lie on the host, counted repeats;
- whoever waits for the device by itself and says so with `note_wait`.

It also tells apart the time of operations on the device from all other time of a thread, so that
what is left is what the host computes.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")
"""What tensors of the pretended device say of where they are: torch does nothing for this device by
itself, and needs no library for it."""

_READING = {
    "item": "a value", "_local_scalar_dense": "a value", "is_nonzero": "a value",
    "equal": "equal", "nonzero": "nonzero", "masked_select": "masked_select",
    "_unique2": "unique", "unique_dim": "unique", "unique_consecutive": "unique",
    "bincount": "bincount", "repeat_interleave": "repeat_interleave",
}  # fmt: skip
"""Operations that read a value, or the shape of what they give, out of tensors, and the names by
which they are counted."""


class PretendedTensor(torch.Tensor):
    """A tensor of the pretended device."""

    held: torch.Tensor
    """The same numbers as a tensor of the host."""
    freeing_s: ClassVar[float] = 0.0
    """Processor time that went into giving memory of the device back, which a device's own pool of
    memory does not take."""

    def __del__(self, now_s: Callable[[], float] = time.thread_time) -> None:
        # What this module names may be gone by now: the last tensors go with the interpreter.
        started_s, kind = now_s(), type(self)
        vars(self).pop("held", None)  # one that was not made to its end holds nothing
        kind.freeing_s += now_s() - started_s

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "PretendedTensor":
        made: PretendedTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.held = inner
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch gives no signature for it
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func} on the pretended device, which has not been entered")


class PretendedDevice(TorchDispatchMode):
    """The device, and the mode in which its tensors can be used. One thread only."""

    device = DEVICE

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.waits: Counter[str] = Counter()
        """How often the host waited for the device, by the operation."""
        self.num_launches = 0
        """Operations that the device was given."""
        self.device_s = 0.0
        """Processor time that operations of the device took, and telling them apart."""
        self._num_calls = 0
        self._call_s = 0.0
        self._pinned: set[int] = set()

    def pinned(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Memory of the host that counts as pinned."""
        made = torch.empty(*shape, dtype=dtype)
        self._pinned.add(made.untyped_storage().data_ptr())
        return made

    def note_wait(self, what: str) -> None:
        """Note that the host waits for the device."""
        self.waits[what] += 1

    def reset(self) -> None:
        """Count from nothing again."""
        self.waits.clear()
        self.num_launches, self.device_s, self._num_calls = 0, 0.0, 0
        PretendedTensor.freeing_s = 0.0

    def calibrate(self) -> None:
        """Find out what it takes that an operation comes here at all, which is to be no time of the
        host's. The device is entered."""
        x = PretendedTensor(torch.zeros(1))
        spent_s = []
        self._call_s = 0.0
        for _ in range(5):
            self.reset()
            started_s = time.thread_time()
            for _ in range(200):
                x.add_(x)
            spent_s.append((time.thread_time() - started_s - self.spent_s) / 200)
        self._call_s = min(spent_s)
        self.reset()

    @property
    def spent_s(self) -> float:
        """Processor time that is not the host's own: the device's, and that of coming to it."""
        return self.device_s + PretendedTensor.freeing_s + self._num_calls * self._call_s

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started_s = time.thread_time()
        self._num_calls += 1
        kwargs = kwargs or {}
        leaves, _ = tree_flatten((args, kwargs))
        theirs = [leaf for leaf in leaves if isinstance(leaf, PretendedTensor)]
        target = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
        if not theirs and target != DEVICE:
            self._refuse_empty(leaves)
            self.device_s += time.thread_time() - started_s
            return func(*args, **kwargs)  # the host's own
        name = func.__name__.split(".")[0]
        ours = [
            leaf
            for leaf in leaves
            if isinstance(leaf, torch.Tensor) and not isinstance(leaf, PretendedTensor)
        ]
        stays = target is None or target == DEVICE
        if name in ("copy_", "to", "_to_copy"):
            self._note_copy(name, leaves, kwargs, stays=stays)
        elif any(leaf.dim() for leaf in ours) and name not in ("index", "index_put_", "index_put"):
            raise RuntimeError(f"{func} mixes tensors of the host and of the device")
        self._note_reading(name, args, ours)
        self.num_launches += not _is_view(func)
        found = func(*_plain(args), **_plain(kwargs))
        is_in_place = name.endswith("_") and not name.endswith("__")  # as __and__ is not
        if is_in_place and isinstance(args[0], torch.Tensor):
            found = args[0]
        elif stays:
            found = tree_map_only(torch.Tensor, PretendedTensor, found)
        self.device_s += time.thread_time() - started_s
        return found

    def _note_copy(
        self, name: str, leaves: list[Any], kwargs: dict[str, Any], *, stays: bool
    ) -> None:
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        source = tensors[-1]
        if name == "copy_":
            target = tensors[0]
            goes_up = isinstance(target, PretendedTensor) and not isinstance(
                source, PretendedTensor
            )
            goes_down = isinstance(source, PretendedTensor) and not isinstance(
                target, PretendedTensor
            )
            is_async = any(leaf is True for leaf in leaves)
            is_pinned = self._is_pinned(target if goes_down else source)
        else:
            goes_up = stays and not isinstance(source, PretendedTensor)
            goes_down = not stays
            is_async = bool(kwargs.get("non_blocking"))
            # Torch takes pinned memory by itself for what comes down without waiting.
            is_pinned = goes_down or self._is_pinned(source)
        if (goes_up or goes_down) and not (is_async and is_pinned):
            self.waits["copy to the device" if goes_up else "copy to the host"] += 1

    def _note_reading(self, name: str, args: Any, ours: list[torch.Tensor]) -> None:
        if name in _READING:
            self.waits[_READING[name]] += 1
        elif name in ("index", "index_put_", "index_put"):
            indices = [one for one in args[1] if one is not None]
            if any(one.dtype == torch.bool for one in indices):
                self.waits["a mask as index"] += 1
            elif any(one is mine for one in indices for mine in ours):
                self.waits["an index from the host"] += 1

    def _is_pinned(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _refuse_empty(self, leaves: list[Any]) -> None:
        """Torch makes ``torch.tensor([1], device=...)`` on this device without a value."""
        if any(isinstance(leaf, torch.Tensor) and leaf.device == DEVICE for leaf in leaves):
            raise RuntimeError("made on the device of Python values: make it on the host and copy")


class PretendedStreams:
    """Queues of the pretended device (see `worker.streams.DeviceStreams`), which does all at once.
    Whoever waits for an event in the thread that has entered the device is counted."""

    def __init__(self, device: PretendedDevice) -> None:
        self._device = device
        self._thread = threading.get_ident()

    def up(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        return PretendedTensor(torch.from_numpy(numbers))

    def pinned(self, *shape: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        made = self._device.pinned(*shape, dtype=dtype)
        return made, PretendedTensor(made)

    def beside(
        self, queue: str, work: Callable[[], None], reads: Sequence[torch.Tensor] = ()
    ) -> "PretendedStreams":
        work()
        return self

    def join(self, event: object) -> None:
        """All is done already."""

    def wait(self) -> None:
        """Wait as for an event."""
        if threading.get_ident() == self._thread:
            self._device.note_wait("an event")


def _is_view(func: Any) -> bool:
    """Whether an operation only looks at memory in another way, for which a device does nothing."""
    infos = [returned.alias_info for returned in func._schema.returns]
    return any(info is not None and not info.is_write for info in infos)


def _plain(tree: Any) -> Any:
    host = torch.device("cpu")
    tree = tree_map_only(PretendedTensor, lambda tensor: tensor.held, tree)
    return tree_map_only(torch.device, lambda _: host, tree)
