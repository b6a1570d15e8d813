"""The program's end of a network."""

import select
import threading
import time
from collections.abc import Iterator

import pytest

from ringlet.host.network_port import MOST, NetworkPort

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def port() -> Iterator[NetworkPort]:
    with NetworkPort() as port:
        yield port


def readable(port: NetworkPort) -> bool:
    return bool(select.select([port], [], [], 0)[0])


def test_frames_keep_their_order_both_ways(port: NetworkPort) -> None:
    assert port.from_guest([[b"one"], [b"t", memoryview(b"wo")]]) == 2
    assert [port.receive(0), port.receive(0), port.receive(0)] == [b"one", b"two", None]
    for number in range(100):
        assert port.send(bytes((number,)))
    seen: list[bytes] = []
    while readable(port):
        seen += port.to_guest()
    assert seen == [bytes((number,)) for number in range(100)]
    assert port.to_guest() == []


def test_so_many_frames_wait_and_no_more(port: NetworkPort) -> None:
    assert port.from_guest([[b"x"]] * (MOST + 5)) == MOST
    assert port.from_guest([[b"x"]]) == 0
    assert all(port.send(b"x") for _ in range(MOST))
    assert not port.send(b"x")


def test_receive_waits_for_a_frame(port: NetworkPort) -> None:
    timer = threading.Timer(0.02, port.from_guest, [[[b"late"]]])
    timer.start()
    assert port.receive() == b"late"
    timer.join()
    start = time.monotonic()
    assert port.receive(0.05) is None
    assert time.monotonic() - start >= 0.05


def test_after_its_end_what_came_can_be_received(port: NetworkPort) -> None:
    port.from_guest([[b"x"]])
    port.close()
    port.close()
    assert not port.send(b"x")
    with pytest.raises(EOFError):
        port.to_guest()
    assert (port.receive(), port.receive()) == (b"x", None)
