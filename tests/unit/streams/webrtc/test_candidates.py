import pytest

from onlooker.streams.source_config import WebRtcSection
from onlooker.streams.webrtc.candidates import PeerPolicy

POLICY = PeerPolicy(WebRtcSection().refused_peers)


@pytest.mark.parametrize("host", ["192.0.2.7", "10.1.2.3", "2001:db8::1", "fd00::7"])
def test_addresses_of_networks_are_sent_to(host: str) -> None:
    assert POLICY.allows(host, local_host="192.0.2.1")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.251", "255.255.255.255", "::1", "::",
        "fe80::1", "ff02::fb", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    ],
)  # fmt: skip
def test_this_machine_cloud_metadata_and_groups_are_not_sent_to(host: str) -> None:
    assert not POLICY.allows(host, local_host="192.0.2.1")
    assert not POLICY.allows(host)


def test_loopback_is_sent_to_from_loopback() -> None:
    assert POLICY.allows("127.0.0.1", local_host="127.0.0.1")
    assert not POLICY.allows("169.254.169.254", local_host="127.0.0.1")


def test_further_networks_can_be_refused() -> None:
    policy = PeerPolicy(("10.0.0.0/8",))
    assert not policy.allows("10.1.2.3")
    assert policy.allows("192.0.2.7")


def test_lists_may_come_as_text_and_addresses_are_checked() -> None:
    read = WebRtcSection.model_validate
    assert read({"announced_addresses": "203.0.113.7, 2001:db8::7"}).announced_addresses == (
        "203.0.113.7",
        "2001:db8::7",
    )
    for wrong in (
        {"addresses": "eth0"},
        {"refused_peers": "10.0.0.1/8"},
        {"min_port": 5000},
        {"min_port": 5000, "max_port": 4000},
        {"turn_server": "turn:example.org"},
        {"min_bits_per_s": 900_000, "max_bits_per_s": 800_000},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong)).partition("_")[0]):
            read(wrong)
