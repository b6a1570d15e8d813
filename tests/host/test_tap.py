"""Tap interfaces, in a network of the test's own."""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ringlet.errors import RingletError
from ringlet.host.tap import Tap

from ..networks import BROADCAST, GUEST, HOST, MAC, busybox, interfaces, own_network, udp

pytestmark = [
    pytest.mark.needs_tap,
    pytest.mark.needs_busybox,
    pytest.mark.usefixtures("no_leak", "network"),
]

HEADER = bytes(12)
SIOCBRADDBR = 0x89A0
PORTS = (4000, 5000)
SECONDS = 30


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


def refused(*words: object, **options: object) -> str:
    with pytest.raises(RingletError) as caught:
        Tap(*words, **options)  # type: ignore[arg-type]
    for line in (caught.value.message, caught.value.hint):
        assert len(line.splitlines()) == 1
    return f"{caught.value.message}; {caught.value.hint}"


def frames_of(tap: Tap, protocol: bytes) -> list[bytes]:
    """Waits for frames of this type; the host sends others of its own accord."""
    while True:
        assert select.select([tap], [], [], SECONDS)[0]
        found = [frame for frame in tap.to_guest() if frame[24:26] == protocol]
        if found:
            return found


def test_an_interface_is_made_and_is_up_and_goes() -> None:
    with Tap("vm0", mtu=1400, address=(HOST, 24)) as tap:
        assert (tap.name, tap.mtu) == ("vm0", 1400)
        shown = busybox("ip", "addr", "show", "vm0")
        assert f"inet {HOST}/24 " in shown
        assert "UP" in shown
        assert "mtu 1400" in shown
    assert interfaces() == ["lo"]


def test_names_are_numbered() -> None:
    with Tap() as first, Tap() as second:
        assert (first.name, second.name) == ("ringlet0", "ringlet1")
    assert interfaces() == ["lo"]


def test_what_the_host_sends_comes_out_and_what_goes_in_the_host_receives() -> None:
    with Tap(address=(HOST, 24)) as tap, socket.socket(type=socket.SOCK_DGRAM) as host:
        host.bind((HOST, PORTS[1]))
        host.settimeout(SECONDS)
        tap.set_offloads(checksum=False, tso4=False, tso6=False, ecn=False)
        host.sendto(b"ask", (GUEST, 9))
        (request, *_) = frames_of(tap, b"\x08\x06")
        assert request[12:18] == BROADCAST
        mac = request[18:24]
        frame = udp(mac, HOST, GUEST, PORTS, b"hello")
        assert tap.from_guest([[HEADER, frame[:20], memoryview(frame)[20:]], [HEADER, frame]]) == 2
        assert [host.recvfrom(100) for _ in range(2)] == [(b"hello", (GUEST, PORTS[0]))] * 2


def test_a_frame_that_the_host_does_not_take_hurts_no_other() -> None:
    with Tap(address=(HOST, 24)) as tap, socket.socket(type=socket.SOCK_DGRAM) as host:
        host.bind((HOST, PORTS[1]))
        host.settimeout(SECONDS)
        busybox("ip", "link", "set", tap.name, "address", MAC.hex(":"))
        good = udp(MAC, HOST, GUEST, PORTS, b"hello")
        lies = struct.pack("<BBHHHHH", 1, 1, 0xFFFF, 0, 0xFFFF, 0xFFFF, 0)
        bad = [[lies, good], [b"short"], [HEADER, b""], [HEADER] + [b""] * 2000]
        assert tap.from_guest([*bad, [HEADER, good]]) >= 1
        assert host.recv(100) == b"hello"
        cut = [good[index : index + 1] for index in range(len(good))]
        assert tap.from_guest([[HEADER, *[b""] * 2000, *cut]]) == 1
        assert host.recv(100) == b"hello"


def test_an_interface_that_goes_is_the_end_of_its_frames() -> None:
    with Tap("vm0") as tap:
        subprocess.run([sys.executable, "-c", DELETE, "vm0"], check=True)
        with pytest.raises(EOFError):
            forever(tap)
        assert tap.from_guest([[HEADER, bytes(60)]]) == 0


def forever(tap: Tap) -> None:
    while True:
        assert select.select([tap], [], [], SECONDS)[0]
        tap.to_guest()


# Netlink, since busybox deletes no tap interface: RTM_DELLINK of the interface of this name.
DELETE = """
import socket, struct, sys
index = socket.if_nametoindex(sys.argv[1])
message = struct.pack("=IHHII", 32, 17, 5, 1, 0) + struct.pack("=BBHiII", 0, 0, 0, index, 0, 0)
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
link.send(message)
assert struct.unpack_from("=i", link.recv(1000), 16) == (0,)
"""


def test_an_interface_that_is_in_use_or_of_another_kind_is_refused() -> None:
    with Tap("vm0"):
        assert "in use" in refused("vm0")
    assert "another kind" in refused("lo")
    assert interfaces() == ["lo"]


def bridge(name: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCBRADDBR, name.encode() + b"\0")


def test_an_interface_becomes_a_port_of_a_bridge() -> None:
    bridge("br0")
    with Tap("vm0", bridge="br0"):
        assert "master br0" in busybox("ip", "link", "show", "vm0")


def test_a_bridge_that_is_none_is_refused_and_nothing_stays() -> None:
    assert "no such interface" in refused("vm0", bridge="br0")
    assert "no bridge" in refused("vm0", bridge="lo")
    assert interfaces() == ["lo"]


WITHOUT_RIGHTS = """
import os
from ringlet.errors import RingletError
from ringlet.host.tap import Tap
os.setgid(65534)
os.setuid(65534)
try:
    Tap("vm0")
except RingletError as error:
    print(error.message, error.hint, sep="\\n")
"""


def test_a_user_without_rights_is_told_what_to_do() -> None:
    mode = os.stat("/dev/net/tun").st_mode
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS], capture_output=True, text=True, check=True
    )
    message, hint = done.stdout.splitlines()
    if mode & 0o006 == 0o006:
        assert message == "no permission for the tap interface vm0"
        assert "sudo ip tuntap add vm0 mode tap user $USER" in hint
    else:
        assert message == "/dev/net/tun can't be opened: Permission denied"
    assert "--network user" in hint
