"""One port for all gateways, and one more for each."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from onlooker.core.errors import ConfigError
from onlooker.server.config import ServerSection
from onlooker.server.gateways.ports import Ports
from onlooker.server.serving import bind


@pytest.fixture
def ports() -> Iterator[Ports]:
    with closing(Ports(ServerSection(gateways=2, port=0))) as ports:
        yield ports


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


def test_nobody_else_can_take_a_port_while_no_gateway_has_it(ports: Ports) -> None:
    with ports.shared(listens=True), ports.own(0, listens=True) as own:
        own_port = own.getsockname()[1]
    for port in (ports.shared_port, own_port):
        with pytest.raises(ConfigError, match="take another port"):
            bind(ServerSection(port=port))
    with ports.shared(listens=True), ports.own(0, listens=True):
        assert connects(ports.shared_port)
        assert connects(own_port)


def test_ports_are_given_back_in_the_end() -> None:
    ports = Ports(ServerSection(gateways=2, port=0))
    ports.close()
    with bind(ServerSection(port=ports.shared_port)):
        assert connects(ports.shared_port)


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
        with closing(Ports(section)) as ports, pytest.raises(ConfigError) as failure:
            ports.own(0, listens=True)
    assert str(taken) in failure.value.message
    assert "server.gateway_port" in failure.value.message


def test_the_shared_port_is_no_gateways_own() -> None:
    with bind(ServerSection(port=0)) as free:
        port = free.getsockname()[1]
    section = ServerSection(gateways=2, port=port, gateway_port=port - 1)
    with closing(Ports(section)) as ports:
        assert ports.shared_port == port
        with pytest.raises(ConfigError, match="gateway 1 needs a port of its own"):
            ports.own(1, listens=True)
