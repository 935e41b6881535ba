"""`DeviceStreams`: queues of work beside the model's own, and memory that both sides reach.

A GPU does what it is given in order, queue by queue ("streams"), while the processor goes on. The
model runs in the main one. KV that is loaded or saved goes through two others, so that copies run
beside computing; a `DeviceEvent` says that a piece of such work is done, to another queue or to a
thread of the processor.

`CudaStreams` are a GPU's. `HostStreams` are for a CPU, where all work is done when the call
returns; tests have some of their own that put work off as long as nobody waits for it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.vllm_adapter import seams

Beside = Literal["load", "save"]
"""A queue beside the main one."""


class DeviceEvent(Protocol):
    """A piece of work that was given to the device."""

    def wait(self) -> None:
        """Wait, in a thread of the processor, until the work is done."""
        ...


class DeviceStreams(Protocol):
    """The queues of one device. All but `DeviceEvent.wait` is called by the thread that runs steps,
    and never waits for the device."""

    def up(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        """Numbers of the host, on the device."""
        ...

    def pinned(self, *shape: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory of the host that the device can read and write: as the host sees it, and as the
        device does."""
        ...

    def beside(
        self, queue: Beside, work: Callable[[], None], reads: Sequence[torch.Tensor] = ()
    ) -> DeviceEvent:
        """Have `work` done in a queue beside the main one, after all that the main one has been
        given so far and all that this one has. `work` may be called at once, to give the device its
        operations.

        Args:
            reads: tensors of the main queue that `work` reads. They may be let go meanwhile.
        """
        ...

    def join(self, event: DeviceEvent) -> None:
        """What the main queue is given from now on is done after `event`."""
        ...


class _Done:
    def wait(self) -> None:
        """It is done already."""


class HostStreams:
    """Queues of a CPU: everything is done when the call returns."""

    def up(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(numbers)

    def pinned(self, *shape: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        made = torch.empty(*shape, dtype=dtype)
        return made, made

    def beside(
        self, queue: Beside, work: Callable[[], None], reads: Sequence[torch.Tensor] = ()
    ) -> DeviceEvent:
        work()
        return _Done()

    def join(self, event: DeviceEvent) -> None:
        event.wait()


class _CudaEvent:
    def __init__(self, event: Any) -> None:
        self.event = event

    def wait(self) -> None:
        self.event.synchronize()


class CudaStreams:
    """Queues of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._queues: dict[Beside, Any] = {
            name: torch.cuda.Stream(device) for name in ("load", "save")
        }

    def up(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        # Torch frees the pinned memory for others once the copy is done.
        pinned = torch.from_numpy(numbers).pin_memory()
        return pinned.to(self._device, non_blocking=True)

    def pinned(self, *shape: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        host = seams.pinned(torch.empty(*shape, dtype=dtype))
        return host, seams.device_view(host)

    def beside(
        self, queue: Beside, work: Callable[[], None], reads: Sequence[torch.Tensor] = ()
    ) -> DeviceEvent:
        stream = self._queues[queue]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            work()
            for tensor in reads:
                tensor.record_stream(stream)
            event = torch.cuda.Event()
            event.record(stream)
        return _CudaEvent(event)

    def join(self, event: DeviceEvent) -> None:
        assert isinstance(event, _CudaEvent)
        torch.cuda.current_stream(self._device).wait_event(event.event)


def streams_of(device: torch.device) -> DeviceStreams:
    """The queues of a device."""
    return CudaStreams(device) if device.type == "cuda" else HostStreams()
