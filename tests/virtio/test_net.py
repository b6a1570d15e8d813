"""The network device: frames both ways, their headers, and what a driver can't do to it."""

import struct
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.network_port import MOST as PORT_MOST
from ringlet.host.network_port import NetworkPort
from ringlet.virtio import mmio, net
from ringlet.virtio.device import TRANSPORT_FEATURES
from ringlet.virtio.net import HEADER, QUEUE_SIZE, RECEIVE, Net

from ..until import until
from .driver import SECONDS, WRITE
from .rig import Rig, rig

pytestmark = pytest.mark.usefixtures("no_leak")

MAC = bytes.fromhex("525400123456")
FEATURES = TRANSPORT_FEATURES | net.F_MAC
MERGEABLE = FEATURES | net.F_MRG_RXBUF
OFFLOADS = sum(net.OFFLOADS)
SENT, PLACES = 0x1_0000, 0x2_0000
FRAME = bytes(range(100))


class HeaderPort(NetworkPort):
    """A port whose frames have the device's header, as a tap's have."""

    has_header = True

    def __init__(self) -> None:
        super().__init__()
        self.offloads: list[tuple[bool, bool, bool, bool]] = []

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool, ecn: bool) -> None:
        self.offloads.append((checksum, tso4, tso6, ecn))


class NetRig:
    """A network device, its port, and what a driver does with both."""

    def __init__(self, made: Rig, port: NetworkPort, features: int = FEATURES) -> None:
        self.made, self.port = made, port
        self.device = made.transport.device
        self.restart(features)

    def restart(self, features: int = FEATURES, size: int = 128) -> None:
        self.receiving, self.sending = self.made.start(features, size)

    def send(self, frame: bytes, header: bytes = bytes(12), *cuts: int) -> None:
        """Offers a frame, cut into buffers at these places, and waits until it's taken."""
        data = header + frame
        self.made.memory.write(SENT, data)
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        buffers = [(SENT + a, b - a, 0) for a, b in pairwise(edges)]
        assert self.sending.request(buffers) == 0

    def place(self, *sizes: int, first: int = 0, kept: bool = True) -> None:
        """Offers a place for a frame of each size; with `kept`, waits until the device has them."""
        for slot, size in enumerate(sizes, first):
            self.receiving.offer(
                self.receiving.chain([(PLACES + 0x1000 * slot, size, WRITE)], slot)
            )
        self.receiving.notify()
        until(lambda: not kept or len(self.kept) >= len(sizes))

    @property
    def kept(self) -> list[int]:
        kept: list[int] = self.made.transport.state["queues"][RECEIVE]["kept"]
        return kept

    def frame(self) -> tuple[bytes, bytes, int]:
        """What the driver gets next: the header, the frame, the number of buffers."""
        slot, written = self.receiving.take()
        data = self.made.memory.read(PLACES + 0x1000 * slot, written)
        (count,) = struct.unpack("<H", data[10:12])
        for _ in range(count - 1):
            slot, written = self.receiving.take()
            data += self.made.memory.read(PLACES + 0x1000 * slot, written)
        return data[:12], data[12:], count

    def breaks(self) -> bool:
        """Whether the device asks to be reset."""
        until(lambda: self.made.read(mmio.STATUS) & mmio.DEVICE_NEEDS_RESET)
        return True


@pytest.fixture
def port() -> NetworkPort:
    return NetworkPort()


@pytest.fixture
def end(port: NetworkPort) -> Iterator[NetRig]:
    with rig(Net(port, MAC)) as made:
        yield NetRig(made, port)


# From the guest.


def test_what_the_guest_sends_comes_to_the_program(end: NetRig) -> None:
    for number in range(5):
        end.send(FRAME + bytes((number,)))
    assert [end.port.receive(SECONDS) for _ in range(5)] == [
        FRAME + bytes((number,)) for number in range(5)
    ]
    assert end.device.state["sent"] == 5


@given(st.binary(min_size=14, max_size=200), st.lists(st.integers(0, 212), max_size=5))
def test_a_driver_cuts_a_frame_into_buffers_as_it_likes(frame: bytes, cuts: list[int]) -> None:
    port = NetworkPort()
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port)
        end.send(frame, bytes(12), *cuts)
        assert port.receive(SECONDS) == frame


@pytest.mark.parametrize("size", [0, 1, 13, net.MOST + 1])
def test_a_frame_without_its_own_header_or_too_long_is_dropped(end: NetRig, size: int) -> None:
    end.send(bytes(size))
    end.send(FRAME)
    assert end.port.receive(SECONDS) == FRAME
    assert (end.device.state["sent"], end.device.state["dropped_sent"]) == (1, 1)


@pytest.mark.parametrize("size", [14, 1514, net.MOST])
def test_frames_of_any_other_size_come_whole(end: NetRig, size: int) -> None:
    frame = (FRAME * (size // 100 + 1))[:size]
    end.send(frame)
    assert end.port.receive(SECONDS) == frame


def test_what_nobody_receives_is_dropped(end: NetRig) -> None:
    for _ in range(PORT_MOST + 10):
        end.send(FRAME)
    assert (end.device.state["sent"], end.device.state["dropped_sent"]) == (PORT_MOST, 10)


@pytest.mark.parametrize("size", [0, 1, 11])
def test_what_is_shorter_than_the_header_breaks_the_rules(end: NetRig, size: int) -> None:
    end.sending.offer(end.sending.chain([(SENT, size, 0), (SENT, 1, WRITE)]))
    end.sending.notify()
    assert end.breaks()


# Headers that lie (5.1.6.2): flags, kind, length of headers, segment, where the checksum is.
NEEDS_CSUM, TCP4, UDP, TCP6, ECN = 1, 1, 3, 4, 0x80
CSUM, TSO4, TSO6, HOST_ECN = net.F_CSUM, net.F_HOST_TSO4, net.F_HOST_TSO6, net.F_HOST_ECN
GOOD = [
    (0, (0, 0, 0, 0, 0, 0)),
    (0, (0, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)),  # nothing of it counts
    (CSUM, (NEEDS_CSUM, 0, 0, 0, 34, 16)),
    (CSUM, (NEEDS_CSUM, 0, 0, 0, 98, 0)),  # the last two bytes
    (CSUM | TSO4, (NEEDS_CSUM, TCP4, 54, 20, 34, 16)),
    (CSUM | TSO6, (NEEDS_CSUM, TCP6, 74, 20, 54, 16)),
    (CSUM | TSO4 | HOST_ECN, (NEEDS_CSUM, TCP4 | ECN, 54, 20, 34, 16)),
]
LIES = [
    (0, (NEEDS_CSUM, 0, 0, 0, 34, 16)),  # nobody agreed on it
    (CSUM, (2, 0, 0, 0, 0, 0)),
    (CSUM, (0xFF, 0, 0, 0, 34, 16)),
    (CSUM, (NEEDS_CSUM, 0, 0, 0, 99, 0)),  # outside the frame
    (CSUM, (NEEDS_CSUM, 0, 0, 0, 0xFFFF, 0xFFFF)),
    (CSUM, (NEEDS_CSUM, 0, 0, 0, 34, 0xFFFF)),
    (CSUM, (NEEDS_CSUM, TCP4, 54, 20, 34, 16)),
    (CSUM | TSO4, (NEEDS_CSUM, TCP6, 54, 20, 34, 16)),
    (CSUM | TSO6, (NEEDS_CSUM, TCP4, 54, 20, 34, 16)),
    (CSUM | TSO4, (0, TCP4, 54, 20, 34, 16)),  # segments need checksums
    (CSUM | TSO4, (NEEDS_CSUM, TCP4, 54, 0, 34, 16)),  # segments of no bytes
    (CSUM | TSO4, (NEEDS_CSUM, TCP4 | ECN, 54, 20, 34, 16)),
    (CSUM | TSO4 | TSO6, (NEEDS_CSUM, UDP, 54, 20, 34, 16)),
    (CSUM | TSO4 | TSO6 | HOST_ECN, (NEEDS_CSUM, ECN, 54, 20, 34, 16)),
    (CSUM | TSO4 | TSO6 | HOST_ECN, (NEEDS_CSUM, 0x7F, 54, 20, 34, 16)),
]


@pytest.mark.parametrize(("features", "header"), [*GOOD, *LIES])
def test_only_an_honest_header_goes_to_the_host(
    features: int, header: tuple[int, int, int, int, int, int]
) -> None:
    port = HeaderPort()
    packed = HEADER.pack(*header, 0)
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port, FEATURES | features)
        end.send(FRAME, packed)
        end.send(FRAME)
        if (features, header) in GOOD:
            assert port.receive(SECONDS) == packed + FRAME
        assert port.receive(SECONDS) == bytes(12) + FRAME
        assert end.device.state["dropped_sent"] == ((features, header) in LIES)


@given(st.binary(min_size=12, max_size=12), st.binary(max_size=80), st.integers(0, 1 << 16))
def test_no_header_hurts(header: bytes, frame: bytes, features: int) -> None:
    port = HeaderPort()
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port, FEATURES | (features & OFFLOADS))
        end.send(frame, header)
        end.send(FRAME)
        while (got := port.receive(SECONDS)) != bytes(12) + FRAME:
            assert got == header + frame


# To the guest.


def test_what_the_program_sends_comes_to_the_guest(end: NetRig) -> None:
    end.place(200, 200, 200)
    for number in range(3):
        assert end.port.send(FRAME + bytes((number,)))
    for number in range(3):
        assert end.frame() == (bytes(10) + b"\1\0", FRAME + bytes((number,)), 1)
    until(lambda: end.device.state["received"] == 3)


def test_frames_that_come_before_there_is_room_wait(end: NetRig) -> None:
    for number in range(5):
        end.port.send(FRAME + bytes((number,)))
    end.place(200, 200, kept=False)
    assert end.frame()[1] == FRAME + b"\0"
    assert end.frame()[1] == FRAME + b"\1"
    end.place(200, 200, 200, first=2, kept=False)
    assert [end.frame()[1][-1] for _ in range(3)] == [2, 3, 4]


def test_many_frames_keep_their_order(end: NetRig) -> None:
    slot = 0
    for start in range(0, 500, 100):
        for number in range(start, start + 100):
            end.port.send(FRAME + struct.pack("<H", number))
        for number in range(start, start + 100):
            if number % 10 == 0:
                end.place(*[200] * 10, first=slot, kept=False)
                slot = (slot + 10) % 100
            assert end.frame()[1] == FRAME + struct.pack("<H", number)


@pytest.mark.parametrize(
    ("sizes", "count"), [((200,), 1), ((112,), 1), ((111, 1), 2), ((50, 1, 200), 3)]
)
def test_a_frame_may_fill_several_chains_where_the_driver_knows_it(
    port: NetworkPort, sizes: Sequence[int], count: int
) -> None:
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port, MERGEABLE)
        end.place(*sizes)
        port.send(FRAME)
        header, frame, found = end.frame()
        assert (header, frame, found) == (bytes(10) + bytes((count, 0)), FRAME, count)


@given(
    st.lists(st.integers(1, 90), min_size=12, max_size=60),
    st.lists(st.binary(min_size=14, max_size=90), min_size=1, max_size=6),
)
def test_frames_lie_in_the_chains_one_after_the_other(
    sizes: list[int], frames: list[bytes]
) -> None:
    port = NetworkPort()
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port, MERGEABLE)
        end.place(*sizes)
        for frame in frames:
            port.send(frame)
        left = sizes
        for frame in frames:
            needed, room = 0, 0
            while room < 12 + len(frame):
                if needed == len(left):
                    return  # no room is left
                room += left[needed]
                needed += 1
            assert read_merged(end, needed) == frame
            left = left[needed:]


def read_merged(end: NetRig, count: int) -> bytes:
    """A frame whose header may be in several buffers, too."""
    data = b""
    for _ in range(count):
        slot, written = end.receiving.take()
        data += end.made.memory.read(PLACES + 0x1000 * slot, written)
    assert data[:12] == bytes(10) + struct.pack("<H", count)
    return data[12:]


def test_a_frame_that_does_not_fit_is_dropped_and_the_chain_stays(end: NetRig) -> None:
    end.place(111)
    end.port.send(FRAME)
    end.port.send(FRAME[:-1])
    assert end.frame()[1] == FRAME[:-1]
    assert end.device.state["dropped_received"] == 1


def test_a_frame_for_which_there_is_never_room_does_not_hold_up_the_others(
    port: NetworkPort,
) -> None:
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port, MERGEABLE)
        end.place(50, 50)
        port.send(FRAME)
        port.send(FRAME[:38])
        assert end.frame()[1] == FRAME[:38]
        assert end.device.state["dropped_received"] == 1


@pytest.mark.parametrize("buffers", [[(PLACES, 200, 0)], [(PLACES, 9, 0), (PLACES, 200, WRITE)]])
def test_a_place_for_a_frame_that_cant_be_written_breaks_the_rules(
    end: NetRig, buffers: list[tuple[int, int, int]]
) -> None:
    end.receiving.offer(end.receiving.chain(buffers))
    end.receiving.notify()
    assert end.breaks()


def test_checksums_are_left_to_a_driver_that_knows_them_alone() -> None:
    port = HeaderPort()
    partial, segments = HEADER.pack(1, 0, 0, 0, 34, 16, 9), HEADER.pack(1, 1, 54, 20, 34, 16, 9)
    verified = HEADER.pack(2, 0, 0, 0, 0, 0, 9)
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port)
        end.place(200, 200)
        for header in (partial, segments, verified):
            port.send(header + FRAME)
        assert end.frame() == (bytes(10) + b"\1\0", FRAME, 1)
        end.restart(FEATURES | net.F_GUEST_CSUM)
        end.place(200, 200)
        for header in (segments, verified, partial):
            port.send(header + FRAME)
        assert end.frame()[0] == verified[:10] + b"\1\0"
        assert end.frame()[0] == partial[:10] + b"\1\0"
        assert end.device.state["dropped_received"] == 3


# What the device offers.


def test_it_has_its_address_its_link_and_its_mtu() -> None:
    with rig(Net(NetworkPort(mtu=9000), MAC)) as made:
        config = b"".join(
            made.transport.read(mmio.CONFIG + n, 1).to_bytes(1, "little") for n in range(12)
        )
        assert config == MAC + struct.pack("<HHH", net.LINK_UP, 1, 9000)
        made.write(mmio.QUEUE_SEL, 1)
        assert made.read(mmio.QUEUE_SIZE_MAX) == QUEUE_SIZE
        assert made.driver.features & OFFLOADS == 0


def test_offloads_are_what_the_end_has_and_the_driver_wants() -> None:
    port = HeaderPort()
    with rig(Net(port, MAC)) as made:
        assert made.driver.features & OFFLOADS == OFFLOADS
        end = NetRig(made, port, FEATURES | net.F_GUEST_CSUM | net.F_GUEST_TSO6)
        end.send(FRAME)
        end.restart(FEATURES | net.F_GUEST_TSO4)  # which needs GUEST_CSUM
        end.send(FRAME)
        end.restart(FEATURES | OFFLOADS)
        end.send(FRAME)
    assert port.offloads == [(True, False, True, False), (False,) * 4, (True,) * 4]


def test_a_link_whose_other_end_is_gone_is_down(end: NetRig) -> None:
    class Gone(NetworkPort):
        def to_guest(self) -> list[bytes]:
            raise EOFError

    with rig(Net(Gone(), MAC)) as made:
        other = NetRig(made, NetworkPort())
        other.receiving.offer(other.receiving.chain([(PLACES, 200, WRITE)]))
        other.receiving.notify()
        until(lambda: not made.transport.read(mmio.CONFIG + 6, 2))
        other.send(FRAME)  # and is thrown away by nobody else than the port
        other.port.close()


def test_a_port_that_is_closed_takes_the_link_down(end: NetRig) -> None:
    end.place(200)
    end.port.close()
    until(lambda: not end.made.transport.read(mmio.CONFIG + 6, 2))


def test_a_frame_of_an_end_with_headers_that_has_none_is_dropped() -> None:
    port = HeaderPort()
    with rig(Net(port, MAC)) as made:
        end = NetRig(made, port)
        end.place(200)
        for size in range(12):
            port.send(bytes(size))
        port.send(bytes(12) + FRAME)
        assert end.frame()[1] == FRAME
        assert end.device.state["dropped_received"] == 12


def test_what_an_end_of_a_program_raises_is_reported() -> None:
    class Broken(NetworkPort):
        def to_guest(self) -> list[bytes]:
            raise ZeroDivisionError("as it was told to")

    with Broken() as port, rig(Net(port, MAC)) as made:
        NetRig(made, port).place(200)
        until(lambda: made.errors)
        (error,) = made.errors
        assert isinstance(error, ZeroDivisionError)
        made.errors.clear()


# Its life.


def test_a_reset_and_a_pause_wait_for_no_frame(end: NetRig) -> None:
    for _ in range(5):
        end.place(200, 200)
        end.made.transport.quiesce()
        end.made.transport.resume()
        end.restart()
        assert end.kept == []


def test_what_comes_in_a_pause_comes_after_it(end: NetRig) -> None:
    end.place(200)
    end.made.transport.quiesce()
    end.port.send(FRAME)
    time.sleep(0.01)  # time for a device that doesn't wait
    assert end.receiving.used_index == 0
    end.made.transport.resume()
    assert end.frame()[1] == FRAME


def test_a_frame_that_waits_for_room_holds_up_no_reset(end: NetRig) -> None:
    end.place(20)
    for _ in range(200):
        end.port.send(FRAME)
    for _ in range(3):
        end.restart(MERGEABLE)
        end.place(20, kept=False)
    end.restart()
    end.port.send(FRAME + b"last")
    while True:
        end.place(200, kept=False)
        if end.frame()[1] == FRAME + b"last":
            break


def test_resets_and_pauses_in_a_storm_of_frames(end: NetRig) -> None:
    for round in range(30):
        end.restart(MERGEABLE if round % 2 else FEATURES)
        for slot in range(40):
            end.receiving.offer(end.receiving.chain([(PLACES + 0x1000 * slot, 200, WRITE)], slot))
        end.receiving.notify()
        for _ in range(100):
            end.port.send(FRAME)
        end.made.transport.quiesce()
        end.made.transport.resume()
    end.send(FRAME)
    assert end.port.receive(SECONDS) == FRAME
