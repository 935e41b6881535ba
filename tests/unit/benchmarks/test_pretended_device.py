"""A device that is pretended counts what a real one would make the processor wait for."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch

from onlooker.benchmarks.host.pretended_device import DEVICE, PretendedDevice, PretendedTensor

WAITING: dict[str, Callable[[torch.Tensor], object]] = {
    "copy to the host": lambda x: x.cpu(),
    "copy to the device": lambda x: x + torch.ones(4).to(x.device),
    "a value": lambda x: bool(x.sum()),
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "masked_select": lambda x: x.masked_select(x > 1),
    "a mask as index": lambda x: x[x > 1],
    "an index from the host": lambda x: x[torch.tensor([0, 2])],
}


@pytest.fixture
def device() -> PretendedDevice:
    return PretendedDevice()


def made() -> torch.Tensor:
    return PretendedTensor(torch.arange(4.0))


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_for_the_device_is_counted_by_its_name(
    name: str, device: PretendedDevice
) -> None:
    with device, torch.no_grad():
        WAITING[name](made())
    assert dict(device.waits) == {name: 1}


def test_work_that_stays_on_the_device_waits_for_nothing(device: PretendedDevice) -> None:
    with device, torch.no_grad():
        x = made().view(2, 2)
        rows = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        x.index_copy_(0, rows, x.index_select(0, rows + 1) * 10)
        torch.topk(x[x.shape[0] - 1].float(), 1)
    assert dict(device.waits) == {}
    assert device.num_launches > 5
    assert isinstance(x, PretendedTensor)
    assert x.held.tolist() == [[20.0, 30.0], [2.0, 3.0]], "it is computed all the same"


def test_copies_between_the_device_and_pinned_memory_need_no_waiting(
    device: PretendedDevice,
) -> None:
    pinned = device.pinned(4, dtype=torch.float32)
    with device, torch.no_grad():
        x = made()
        pinned.copy_(x, non_blocking=True)
        x.copy_(pinned, non_blocking=True)
        pinned.to(DEVICE, non_blocking=True)
        assert dict(device.waits) == {}
        pinned.copy_(x)
        torch.ones(4).to(DEVICE, non_blocking=True)
    assert dict(device.waits) == {"copy to the host": 1, "copy to the device": 1}
    assert pinned.tolist() == [0, 1, 2, 3]


def test_tensors_of_the_host_and_of_the_device_cannot_be_mixed(device: PretendedDevice) -> None:
    with device, torch.no_grad(), pytest.raises(RuntimeError, match="mixes"):
        made() + torch.ones(4)


def test_time_on_the_device_is_told_apart_from_the_hosts(device: PretendedDevice) -> None:
    x = torch.ones(400, 400)
    with device, torch.no_grad():
        started_s = time.thread_time()
        for _ in range(10):
            x @ x
        host_s = time.thread_time() - started_s
        assert device.device_s < host_s / 2
        y = PretendedTensor(x)
        device.reset()
        started_s = time.thread_time()
        for _ in range(10):
            y @ y
        assert device.device_s > (time.thread_time() - started_s) / 2


def test_tensors_that_last_as_long_as_the_interpreter_end_in_silence() -> None:
    program = (
        "import builtins, torch\n"
        "from onlooker.benchmarks.host.pretended_device import PretendedTensor\n"
        "builtins.kept = PretendedTensor(torch.ones(3))\n"
        "torch.Tensor._make_wrapper_subclass(PretendedTensor, (2,))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stderr == b""
