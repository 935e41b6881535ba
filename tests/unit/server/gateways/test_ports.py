"""One port for all gateways, and one more for each."""

import socket

import pytest

from onlooker.core.errors import ConfigError
from onlooker.server.config import ServerSection
from onlooker.server.gateways.ports import Ports
from onlooker.server.serving import bind


@pytest.fixture
def ports() -> Ports:
    return Ports(ServerSection(gateways=2, port=0))


def connects(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_the_shared_port_takes_connections_as_long_as_one_gateway_listens(ports: Ports) -> None:
    assert not connects(ports.shared_port)
    with ports.shared(listens=True), ports.shared(listens=False):
        assert connects(ports.shared_port)
    assert not connects(ports.shared_port)


def test_another_server_cannot_take_the_shared_port(ports: Ports) -> None:
    section = ServerSection(gateways=2, port=ports.shared_port)
    with ports.shared(listens=True):
        for take in (bind, Ports):
            with pytest.raises(ConfigError, match="take another port"):
                take(section)


def test_a_gateway_finds_its_own_port_again(ports: Ports) -> None:
    with ports.own(0, listens=True) as first:
        port = first.getsockname()[1]
        assert ports.own_url(0) == f"http://127.0.0.1:{port}"
        assert connects(port)
    with ports.own(0, listens=False) as again:
        assert again.getsockname()[1] == port
        assert not connects(port)  # so that its streams are taken over


def test_a_port_of_a_gateways_own_that_is_taken_is_named_with_its_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        section = ServerSection(gateways=2, port=0, gateway_port=taken)
        with pytest.raises(ConfigError) as failure:
            Ports(section).own(0, listens=True)
    assert str(taken) in failure.value.message
    assert "server.gateway_port" in failure.value.message
