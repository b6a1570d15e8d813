"""The guest `net`, natively: its own driver against our device, on each host end."""

import io
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringlet import Machine, MachineConfig, Result
from ringlet.errors import RingletError
from ringlet.host.network_port import NetworkPort

from .networks import (
    ARP,
    ECHO_REPLY,
    GUEST,
    HOST,
    IPV4,
    MAC,
    address_of,
    arp_request,
    busybox,
    checksum,
    interfaces,
    own_network,
    packet,
    ping,
)

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

SECONDS = 60
GUESTS_MAC = bytes.fromhex("525400abcdef")


@contextmanager
def running(network: object, cmdline: str = "count=1") -> Iterator[tuple[Machine, io.BytesIO]]:
    output = io.BytesIO()
    config = MachineConfig(
        image="net",
        network=network,  # type: ignore[arg-type]
        cmdline=cmdline,
        serial=output,
        timeout=SECONDS,
    )
    with Machine(config) as machine:
        machine.start()
        yield machine, output


def ended(machine: Machine) -> Result:
    result = machine.wait(SECONDS)
    assert result is not None
    assert result.reason == "exit-port"
    return result


def next_frame(port: NetworkPort) -> bytes:
    frame = port.receive(SECONDS)
    assert frame is not None
    return frame


def announced(port: NetworkPort, address: str = GUEST) -> bytes:
    """The guest's MAC address, of its first frame."""
    frame = next_frame(port)
    assert (frame[:6], frame[12:14], len(frame)) == (b"\xff" * 6, ARP, 60)
    assert frame[28:32] == frame[38:42] == address_of(address)
    return frame[6:12]


def test_it_answers_arp_and_ping() -> None:
    port = NetworkPort()
    with running(port, "count=3") as (machine, output):
        mac = announced(port)
        port.send(arp_request(GUEST))
        answer = next_frame(port)
        fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
        addresses = mac + address_of(GUEST) + MAC + address_of(HOST)
        assert answer == MAC + mac + ARP + fixed + addresses
        for number, data in enumerate((b"", b"odd", bytes(range(256)) * 4)):
            port.send(ping(mac, number, data))
            answer = next_frame(port)
            assert answer[:14] == MAC + mac + IPV4
            assert answer[26:34] == address_of(GUEST) + address_of(HOST)
            assert checksum(answer[14:34]) == checksum(answer[34:]) == 0
            assert answer[34] == ECHO_REPLY
            assert answer[38:] == ping(mac, number, data)[38:]
        assert ended(machine).status == 0
    assert "1 ARP requests, 3 pings, 0 others\n" in output.getvalue().decode()


def test_it_has_the_address_that_it_is_given() -> None:
    port = NetworkPort()
    with running(port, "count=1 address=10.0.2.15") as (machine, output):
        mac = announced(port, "10.0.2.15")
        port.send(ping(mac))  # to another address
        port.send(ping(mac, 1, target="10.0.2.15"))
        assert next_frame(port)[40:42] == b"\0\1"
        assert ended(machine).status == 0
    assert f"{mac.hex(':')} is 10.0.2.15\n" in output.getvalue().decode()


def test_whatever_else_comes_has_no_answer() -> None:
    port = NetworkPort()
    with running(port) as (machine, output):
        mac = announced(port)
        good = ping(mac)
        others = [
            *(good[:size] for size in range(15, 38)),
            *(bytes(size) for size in range(14, 60)),
            arp_request(HOST),
            arp_request(GUEST)[:41],
            arp_request(GUEST).replace(b"\x06\x04\x00\x01", b"\x06\x04\x00\x02"),
            packet(17, bytes(40), mac),
            good[:14] + b"\x46" + good[15:],
            good[:20] + b"\x20\x00" + good[22:],  # the first of several fragments
            good[:34] + b"\0" + good[35:],
        ]
        for frame in others:
            assert port.send(frame)
        port.send(good)
        assert next_frame(port)[34] == ECHO_REPLY
        assert ended(machine).status == 0
        assert port.receive(0) is None
    assert f"{len(others)} others\n" in output.getvalue().decode()


def test_frames_too_long_for_its_buffers_are_dropped() -> None:
    port = NetworkPort()
    with running(port) as (machine, _):
        mac = announced(port)
        for size in (2000, 3000, 65000):
            port.send(ping(mac, 1, bytes(size)))
        port.send(ping(mac, 2, bytes(1472)))
        assert next_frame(port)[40:42] == b"\0\2"
        assert ended(machine).status == 0


def test_many_at_once_are_answered_in_their_order() -> None:
    port = NetworkPort()
    with running(port, "count=500") as (machine, _):
        mac = announced(port)
        for number in range(500):
            assert port.send(ping(mac, number))
        assert [int.from_bytes(next_frame(port)[40:42], "big") for _ in range(500)] == [*range(500)]
        assert ended(machine).status == 0
        placed = machine.board.find("virtio-net")
        assert placed is not None
        assert placed.state["device"]["sent"] == 501


def test_a_pause_loses_nothing() -> None:
    port = NetworkPort()
    with running(port, "count=40") as (machine, _):
        mac = announced(port)
        for number in range(40):
            machine.pause()
            port.send(ping(mac, number))
            machine.resume()
        assert [next_frame(port)[41] for _ in range(40)] == [*range(40)]
        assert ended(machine).status == 0


@pytest.mark.needs_tap
@pytest.mark.needs_busybox
def test_the_host_pings_it_over_a_tap() -> None:
    with own_network():
        with running(f"tap:vm0,address={HOST}/24,mac={GUESTS_MAC.hex(':')}", "count=5") as (
            machine,
            output,
        ):
            shown = busybox("ping", "-c", "5", "-i", "0.1", "-W", str(SECONDS), GUEST)
            assert "5 packets received" in shown
            assert ended(machine).status == 0
        assert output.getvalue().decode().startswith(f"{GUESTS_MAC.hex(':')} is {GUEST}\n")
        assert re.search(r"[1-9] ARP requests, 5 pings", output.getvalue().decode())
        assert interfaces() == ["lo"]


@pytest.mark.needs_tap
@pytest.mark.needs_busybox
def test_large_pings_go_over_a_tap_with_a_large_mtu() -> None:
    network = f"tap:vm0,address={HOST}/24,mtu=2000"
    with own_network(), running(network, "count=3") as (machine, _):
        shown = busybox("ping", "-c", "3", "-i", "0.1", "-s", "1900", "-W", str(SECONDS), GUEST)
        assert "3 packets received" in shown
        assert ended(machine).status == 0


@pytest.mark.needs_tap
@pytest.mark.needs_busybox
@pytest.mark.needs_passt
def test_with_passt_it_is_there_and_a_port_leads_in() -> None:
    with own_network():
        with running(f"tap:world,address={HOST}/24", "count=1") as (machine, _):
            busybox("route", "add", "default", "gw", GUEST)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            with running(f"user,forward={port}:80", "count=1 address=10.0.2.15") as (inner, output):
                socket.create_connection(("127.0.0.1", port), SECONDS).close()
                while b" is 10.0.2.15\n" not in output.getvalue():
                    assert inner.wait(0.01) is None
                inner.stop()
            machine.stop()
        assert interfaces() == ["lo"]


def test_an_end_that_fails_ends_the_run() -> None:
    class Broken(NetworkPort):
        def to_guest(self) -> list[bytes]:
            raise ZeroDivisionError("as it was told to")

    with running(Broken()) as (machine, _), pytest.raises(ZeroDivisionError):
        machine.wait(SECONDS)


@pytest.mark.needs_tap
def test_a_tap_that_cant_be_made_leaves_nothing() -> None:
    with own_network():
        with pytest.raises(RingletError, match="bridge br0"):
            Machine(MachineConfig(image="net", network="tap:vm0,bridge=br0"))
        assert interfaces() == ["lo"]


def test_without_a_network_it_says_how_to_get_one() -> None:
    with running("none") as (machine, output):
        assert ended(machine).status == 1
    assert "--network" in output.getvalue().decode()


@pytest.mark.parametrize("address", ["1.2.3", "1.2.3.256", "1.2.3.4.5", "x", ""])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with running(NetworkPort(), f"address={address}") as (machine, output):
        assert ended(machine).status == 1
    assert "192.168.7.2" in output.getvalue().decode()
