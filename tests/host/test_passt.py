"""passt as a network of the guest, in a network of the test's own."""

import functools
import os
import random
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ringlet.errors import RingletError
from ringlet.host import passt
from ringlet.host.passt import ADDRESS, GATEWAY, Forward, Passt
from ringlet.host.tap import Tap

from ..networks import BROADCAST, IPV4, MAC, busybox, own_network, udp

pytestmark = [
    pytest.mark.needs_passt,
    pytest.mark.needs_tap,
    pytest.mark.needs_busybox,
    pytest.mark.usefixtures("no_leak", "network"),
]

HOST, ROUTER = "192.0.2.1", "192.0.2.254"
SECONDS = 30


@pytest.fixture
def network() -> Iterator[None]:
    """passt wants a way to the world; nothing leaves by this one."""
    with own_network(), Tap("world", address=(HOST, 24)):
        busybox("route", "add", "default", "gw", ROUTER)
        yield


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A socket of the host for datagrams."""
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        made.bind((HOST, 0))
        made.settimeout(SECONDS)
        yield made


def datagram(end: Passt) -> bytes:
    """The next datagram that comes to the guest: ports and data."""
    while True:
        assert select.select([end], [], [], SECONDS)[0]
        for frame in end.to_guest():
            if frame[12:14] == IPV4 and frame[23] == 17:
                return frame[34:38] + frame[42:]


def ports(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def test_the_guests_datagrams_come_from_this_host_and_answers_go_back(
    server: socket.socket,
) -> None:
    to = server.getsockname()[1]
    with Passt(MAC) as end:
        assert end.mtu == passt.MTU
        frame = udp(BROADCAST, HOST, ADDRESS, (4000, to), b"ask")
        assert end.from_guest([[frame[:30], memoryview(frame)[30:]], [frame]]) == 2
        (_, first), (_, sender) = [server.recvfrom(100) for _ in range(2)]
        assert first == sender
        assert sender[0] == HOST
        server.sendto(b"answer", sender)
        assert datagram(end) == ports(to, 4000) + b"answer"


def test_a_forwarded_port_leads_into_the_guest(server: socket.socket) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as free, socket.socket() as stream:
        free.bind(("127.0.0.1", 0))
        stream.bind(("127.0.0.1", 0))
        port, listening = free.getsockname()[1], stream.getsockname()[1]
    with Passt(MAC, forwards=[Forward(port, 53, "udp"), Forward(listening, 80)]) as end:
        server.close()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"into", ("127.0.0.1", port))
            found = datagram(end)
            assert (found[2:4], found[4:]) == (ports(53), b"into")
        socket.create_connection(("127.0.0.1", listening), SECONDS).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, listening), SECONDS)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listening), SECONDS)


def children() -> list[str]:
    return subprocess.run(
        ["ps", "-o", "comm=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()


def test_it_ends_with_the_end_and_many_can_be() -> None:
    with Passt(MAC), Passt(MAC):
        assert children().count("passt") + children().count("passt.avx2") == 2
    assert not [name for name in children() if name.startswith("passt")]


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RingletError) as caught:
            Passt(MAC, forwards=[Forward(port, 80)])
    assert f"127.0.0.1/{port}:80" in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert "ports" in caught.value.hint


def test_without_passt_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RingletError) as caught:
        Passt(MAC)
    assert "there is no passt" in caught.value.message
    assert "apt install passt" in caught.value.hint


def test_when_passt_dies_no_frame_will_come() -> None:
    with Passt(MAC) as end:
        end._process.send_signal(signal.SIGKILL)
        with pytest.raises(EOFError):
            while_it_lives(end)
        assert end.from_guest([[bytes(60)]]) in (0, 1)


def while_it_lives(end: Passt) -> None:
    while True:
        assert select.select([end], [], [], SECONDS)[0]
        end.to_guest()


def test_a_passt_that_does_not_read_holds_up_nobody_for_long(server: socket.socket) -> None:
    frame = udp(BROADCAST, HOST, ADDRESS, (4000, server.getsockname()[1]), bytes(1000))
    with Passt(MAC) as end:
        end._process.send_signal(signal.SIGSTOP)
        taken = 1
        while taken:
            taken = end.from_guest([[frame]] * 64)
        assert len(end._unsent) <= 64 * (len(frame) + 4)
        end._process.send_signal(signal.SIGCONT)
        while end._unsent:  # though the guest sends nothing more
            assert select.select([end], [], [], SECONDS)[0]
            end.to_guest()
        assert server.recv(2000) == bytes(1000)
        assert end.from_guest([[frame]])


def test_what_passt_says_in_pieces_is_put_together() -> None:
    ours, theirs = socket.socketpair()
    end = Passt.__new__(Passt)
    end._socket, end._received, end._unsent = ours, b"", b""
    ours.setblocking(False)
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in (b"one", b"", b"x" * 300))
    seen: list[bytes] = []
    for index in range(len(stream)):
        theirs.send(stream[index : index + 1])
        seen += end.to_guest()
    assert seen == [b"one", b"", b"x" * 300]
    theirs.send(b"\xff" * 4)
    with pytest.raises(EOFError):
        end.to_guest()
    ours.close()
    theirs.close()
    assert GATEWAY != ADDRESS


def relay(guest: Tap, end: Passt, stop: threading.Event) -> None:
    """Plays the device: moves frames between the kernel that stands for a guest, and passt."""
    header = bytes(12)
    while not stop.is_set():
        ready, _, _ = select.select([guest, end], [], [], 0.1)
        if guest in ready:
            end.from_guest([[frame[12:]] for frame in guest.to_guest()])
        if end in ready:
            guest.from_guest([[header, frame] for frame in end.to_guest()])


def test_a_real_kernel_fetches_through_it(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(200_000)
    (tmp_path / "page").write_bytes(content)
    page = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    stop = threading.Event()
    with ThreadingHTTPServer((HOST, 8000), page) as server, Passt(MAC) as end:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        with own_network(), Tap("eth0", mtu=end.mtu, address=(ADDRESS, passt.PREFIX)) as guest:
            busybox("route", "add", "default", "gw", GATEWAY)
            guest.set_offloads(checksum=False, tso4=False, tso6=False, ecn=False)
            moving = threading.Thread(target=relay, args=[guest, end, stop])
            moving.start()
            try:
                busybox("wget", "-q", "-O", str(tmp_path / "got"), f"http://{HOST}:8000/page")
                assert (tmp_path / "got").read_bytes() == content
            finally:
                stop.set()
                moving.join()
                server.shutdown()
                serving.join()
