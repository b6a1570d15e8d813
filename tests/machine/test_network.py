"""The text of a network, and what can't be one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringlet import Machine, MachineConfig
from ringlet.errors import ConfigError
from ringlet.host.network_port import NetworkPort
from ringlet.machine.network import (
    Network,
    check_network,
    guest_address,
    parse_forward,
    parse_mac,
    parse_network,
    parse_prefix,
    random_mac,
)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("none", None),
        ("tap", Network("tap")),
        ("tap:vm0", Network("tap", "vm0")),
        ("user", Network("user")),
        (
            "tap:a,mac=52:54:00:00:00:01,mtu=9000,address=10.0.0.1/8,bridge=br0",
            Network("tap", "a", "52:54:00:00:00:01", 9000, "10.0.0.1/8", "br0"),
        ),
        (
            "user,forward=8080:80,mtu=1400,forward=0.0.0.0:53:53/udp",
            Network("user", mtu=1400, forwards=("8080:80", "0.0.0.0:53:53/udp")),
        ),
    ],
)
def test_a_network_is_a_kind_and_its_options(text: str, network: Network | None) -> None:
    assert parse_network(text) == network


WRONG = [
    *("", "TAP", "taps", "tap:", "tap:a/b", "tap:0123456789abcdef", "tap: ", "tap:..", "tap:\x1b"),
    *("none,mtu=1500", "user:a", "tap:a:b", "tap:ü", "bridge"),
    *("tap,", "tap,mtu", "tap,mtu=", "tap,mtu=67", "tap,mtu=65536", "tap,mtu=-1", "tap,mtu=1.5"),
    *("tap,mtu=" + "9" * 5000, "tap,mtu=100,mtu=200", "tap,MTU=100", "tap,what=1"),
    *("tap,mac=52:54:00", "tap,mac=52:54:00:00:00:zz", "tap,mac=01:00:00:00:00:01"),
    *("tap,mac=00:00:00:00:00:00", "tap,mac=52-54-00-12-34-56"),
    *("tap,address=10.0.0.1", "tap,address=10.0.0/8", "tap,address=10.0.0.256/8"),
    *("tap,address=10.0.0.1/33", "tap,address=10.0.0.1/0", "tap,address=::1/64"),
    *("tap,bridge=", "tap,bridge=a/b", "user,bridge=br0", "user,address=10.0.0.1/8"),
    *("tap,forward=80:80", "user,forward=80", "user,forward=0:80", "user,forward=80:65536"),
    *("user,forward=a:80:80", "user,forward=80:80/sctp", "user,forward=80:80/"),
    *("user,forward=1.2.3.4:5:6:7", "user,forward=80: 80", "user,forward=²:80"),
]


@pytest.mark.parametrize("text", WRONG)
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_network(text)
    for line in (caught.value.message, caught.value.hint):
        assert len(line.splitlines()) == 1
        assert line.isprintable()


@given(st.text())
@example("tap,mtu=٣٠٠")
def test_any_text_is_a_network_or_is_refused(text: str) -> None:
    for kind in ("", "tap,", "user,", "tap:", "user,forward=", "tap,address=", "tap,mac="):
        try:
            network = parse_network(kind + text)
        except ConfigError:
            continue
        if network is not None:
            check_network(network)


@pytest.mark.parametrize(
    "network",
    [
        Network("bridge"),
        Network("user", "vm0"),
        Network("user", address="10.0.0.1/8"),
        Network("user", bridge="br0"),
        Network("tap", forwards=("80:80",)),
        Network("tap", "a b"),
        Network("tap", mtu=1),
        Network("tap", mac="x"),
    ],
)
def test_what_a_program_gives_is_checked_too(network: Network) -> None:
    with pytest.raises(ConfigError):
        MachineConfig(image="net", network=network)


@pytest.mark.parametrize("value", [None, 1, True, b"tap", ("tap",), ["tap"], object()])
def test_a_network_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="network is of the wrong type"):
        MachineConfig(image="net", network=value)  # type: ignore[arg-type]


def test_the_parts_mean_what_they_say() -> None:
    assert parse_mac("52:54:00:aB:cd:ef") == bytes.fromhex("525400abcdef")
    assert parse_prefix("192.168.7.1/24") == ("192.168.7.1", 24)
    forward = parse_forward("8080:80")
    assert (forward.host, forward.guest, forward.protocol) == (8080, 80, "tcp")
    assert forward.address == "127.0.0.1"
    forward = parse_forward("10.0.0.1:53:5353/udp")
    assert (forward.host, forward.guest, forward.protocol) == (53, 5353, "udp")
    assert forward.address == "10.0.0.1"


def test_a_random_mac_is_of_one_station_and_new_each_time() -> None:
    made = {random_mac() for _ in range(50)}
    assert len(made) > 40
    for mac in made:
        assert parse_mac(mac.hex(":")) == mac


@pytest.mark.needs_kvm
def test_the_machine_closes_its_network(no_leak: None) -> None:
    port = NetworkPort()
    with Machine(MachineConfig(image="net", network=port, serial="none")):
        assert port.send(bytes(60))
    assert not port.send(bytes(60))
    assert port.receive() is None


@pytest.mark.needs_kvm
def test_a_network_is_closed_though_the_machine_cant_be_made(no_leak: None) -> None:
    port = NetworkPort()
    config = MachineConfig(image="net", network=port, disks=["/absent.raw"], serial="none")
    with pytest.raises(ConfigError):
        Machine(config)
    port.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("user", ("10.0.2.15", 24, "10.0.2.2", "10.0.2.3")),
        ("tap:vm0,address=192.168.7.1/24", ("192.168.7.2", 24, "192.168.7.1", "")),
        ("tap,address=10.0.255.255/8", ("10.1.0.0", 8, "10.0.255.255", "")),
        ("tap", None),
        ("tap,address=192.168.7.1/32", None),
        ("tap,address=192.168.7.254/24", None),
        ("tap,address=192.168.7.255/24", None),
        ("tap,address=255.255.255.254/1", None),
    ],
)
def test_the_guests_address_suits_the_network(
    text: str, address: tuple[str, int, str, str] | None
) -> None:
    network = parse_network(text)
    assert network is not None
    assert guest_address(network) == address
