"""What a decoder process can still reach, tried out in processes of their own."""

import ctypes
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

TRY = """
import socket, sys
from onlooker.streams.decoding.network_lock import lock_network

relay, other = (int(port) or None for port in sys.argv[1:])
print(lock_network(relay))
tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
for kind, port in ((tcp, relay), (tcp, other), (udp, 9)):
    try:
        socket.socket(socket.AF_INET, kind).connect(("127.0.0.1", port or 9))
        print("reached")
    except OSError as error:
        print(type(error).__name__)
"""


def tried(*, relay_port: int, other_port: int) -> list[str]:
    """Whether it was locked; and what came of a connection to the relay, to another port by TCP,
    and by UDP."""
    command = [sys.executable, "-c", TRY, str(relay_port), str(other_port)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def has_network_rules() -> bool:
    """Whether this kernel's Landlock has rules for the network."""
    abi: int = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return abi >= 4


needs_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the kernel's filters are Linux's"
)


@needs_linux
def test_a_process_that_reads_from_nobody_makes_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = tried(relay_port=0, other_port=server.getsockname()[1])
    assert found == ["True", "PermissionError", "PermissionError", "PermissionError"]


@needs_linux
def test_a_process_that_reads_from_a_relay_reaches_it_and_nobody_by_udp() -> None:
    with ExitStack() as servers:
        ports = [
            servers.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for _ in range(2)
        ]
        found = tried(relay_port=ports[0], other_port=ports[1])
    other = "PermissionError" if has_network_rules() else "reached"
    assert found == ["True", "reached", other, "PermissionError"]
