import ipaddress
from pathlib import Path

import pytest

from onlooker.core.address import AddressPolicy
from onlooker.core.errors import Forbidden, InvalidRequest
from onlooker.streams.source_config import SourcesSection
from onlooker.streams.sources.spec import redacted


def make_policy(**settings: object) -> AddressPolicy:
    return AddressPolicy(SourcesSection.model_validate(settings).rules)


def allows(policy: AddressPolicy, address: str, host: str = "cam.example.org") -> bool:
    return policy.allows(host, ipaddress.ip_address(address))


INSIDE = [
    "127.0.0.1",
    "127.8.9.10",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", INSIDE)
def test_by_default_nothing_inside_the_network_is_reached(address: str) -> None:
    assert not allows(make_policy(), address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_by_default_public_addresses_are_reached(address: str) -> None:
    assert allows(make_policy(), address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3"])
def test_private_addresses_can_be_allowed_for_matching_names(address: str) -> None:
    policy = make_policy(allow_private=True, allow_hosts=["*.example.org"])
    assert allows(policy, address)
    assert not allows(policy, address, host="cam.example.com")


def test_a_network_that_is_written_out_opens_its_addresses_only() -> None:
    policy = make_policy(allow_hosts=["192.168.7.0/24", "10.0.0.5"])
    assert allows(policy, "192.168.7.20", host="whatever")
    assert allows(policy, "10.0.0.5", host="10.0.0.5")
    assert not allows(policy, "192.168.8.20", host="whatever")
    assert not allows(policy, "8.8.8.8", host="whatever")


def test_names_are_compared_whole_and_in_any_case() -> None:
    policy = make_policy(allow_hosts=["cam.example.org"])
    assert allows(policy, "8.8.8.8", host="CAM.example.ORG")
    assert not allows(policy, "8.8.8.8", host="cam.example.org.evil.net")
    assert not allows(policy, "8.8.8.8", host="notcam.example.org")


def test_a_name_that_points_inside_is_refused_when_it_is_resolved() -> None:
    with pytest.raises(Forbidden, match="localhost"):
        make_policy().addresses("localhost", 80)
    assert make_policy(allow_hosts=["127.0.0.0/8"]).addresses("localhost", 80) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "[::1]"])
def test_other_spellings_of_loopback_are_refused(host: str) -> None:
    policy = make_policy()
    with pytest.raises((Forbidden, OSError)):
        policy.addresses(policy.parse(f"http://{host}/x").host, 80)


@pytest.mark.parametrize(
    "url", ["gopher://x/", "ftp://x/", "concat:a|b", "tcp://x:1", "data:text/plain,x", "demo", ""]
)
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(Forbidden, match="begins with http or https or rtsp or rtsps"):
        make_policy().parse(url)


@pytest.mark.parametrize("url", ["http://", "http://a:999999/x", "http://[::1/x", "rtsp://a b/x"])
def test_malformed_urls_are_named_as_such(url: str) -> None:
    with pytest.raises(InvalidRequest):
        make_policy().parse(url)


def test_a_url_is_taken_apart() -> None:
    target = make_policy().parse("rtsp://user:p%40ss@cam.example.org/a b?x=ü".replace(" ", "%20"))
    assert (target.host, target.port, target.username, target.password) == (
        "cam.example.org", 554, "user", "p@ss",
    )  # fmt: skip
    assert target.url == "rtsp://cam.example.org:554/a%20b?x=%C3%BC"


def test_files_are_opened_only_below_allowed_directories(tmp_path: Path) -> None:
    inside, outside = tmp_path / "videos", tmp_path / "secret"
    inside.mkdir()
    (inside / "a.mp4").write_bytes(b"x")
    outside.write_bytes(b"x")
    (inside / "link.mp4").symlink_to(outside)
    (tmp_path / "videos-too").write_bytes(b"x")
    policy = make_policy(file_dirs=[str(inside)])
    assert policy.file(f"{inside}/a.mp4") == inside / "a.mp4"
    assert policy.file(f"file://{inside}/a.mp4") == inside / "a.mp4"
    for path in (
        outside,
        inside / "link.mp4",
        inside / ".." / "secret",
        tmp_path / "videos-too",
        "/dev/stdin",
        "/etc/passwd\0.mp4",
    ):
        with pytest.raises(Forbidden, match="file_dirs"):
            policy.file(str(path))
    with pytest.raises(InvalidRequest, match="no file"):
        policy.file(f"{inside}/none.mp4")
    with pytest.raises(InvalidRequest, match="plain file"):
        policy.file(str(inside))


def test_by_default_no_file_is_opened() -> None:
    with pytest.raises(Forbidden):
        make_policy().file("/etc/hostname")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:secret@cam:554/door?token=1", "rtsp://cam:554/door"),
        ("file:///srv/videos/a.mp4", "file:a.mp4"),
        ("/srv/videos/a.mp4", "a.mp4"),
        ("http://[::1", "(a malformed address)"),
    ],
)
def test_what_viewers_are_shown_of_an_address_holds_no_secret(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b/", "http://.a/", "http://../", f"http://{'a' * 64}.example.org/",
        f"http://{'a.' * 127}aa/", "http://a\x7fb/", "http://\ufeff/", "http://\u3002\u3002/",
        "http://xn--\u00df\u0378/", "http://a\ud800/", "http://example.org/\ud800",
    ],
)  # fmt: skip
def test_a_name_that_no_host_can_have_is_a_fault_of_the_request(url: str) -> None:
    with pytest.raises(InvalidRequest, match="names no host that can exist"):
        make_policy().parse(url)


def test_names_are_looked_up_in_ascii() -> None:
    assert make_policy().parse("http://MÜNCHEN.example./a").url == (
        "http://xn--mnchen-3ya.example:80/a"
    )


def test_a_malformed_file_url_is_refused(tmp_path: Path) -> None:
    policy = make_policy(schemes=["file"], file_dirs=[tmp_path])
    with pytest.raises(Forbidden):
        policy.file("file://[")
