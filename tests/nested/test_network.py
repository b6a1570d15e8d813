"""A stock kernel on a network of the test's own: over a tap interface, and through passt."""

import functools
import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ringlet.host.tap import Tap
from ringlet.linux.command import Completed, run

from ..networks import busybox, interfaces, own_network

pytestmark = [pytest.mark.needs_busybox, pytest.mark.needs_tap]

LONG = 600  # seconds, on a machine that is emulated and busy
PORT = 8000
SIZE = 1 << 20
HOST, GUEST = "192.168.7.1", "192.168.7.2"
WORLD = "192.0.2.1"


class Quiet(SimpleHTTPRequestHandler):
    """A server that tells nobody."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server of this network; the digest of what its /page has."""
    content = random.Random(1).randbytes(SIZE)
    (folder / "page").write_bytes(content)
    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("0.0.0.0", PORT), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hashlib.sha256(content).hexdigest()
        finally:
            server.shutdown()
            thread.join()


def lines(done: Completed) -> list[str]:
    assert (done.reason, done.status) == ("exit", 0), done
    return done.stdout.decode().splitlines()


def fetch(host: str) -> str:
    return f"wget -q -O - http://{host}:{PORT}/page | sha256sum"


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_it_pings_and_fetches_over_a_tap(cloud_kernel: Path, tmp_path: Path, mtu: int) -> None:
    network = f"tap:vm0,address={HOST}/24,mac=52:54:00:12:34:56,mtu={mtu}"
    command = f"""
        set -e
        cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu
        ping -c 3 {HOST} | grep received
        {fetch(HOST)}
        head -c {SIZE} /dev/urandom >made
        sha256sum <made
        nc {HOST} 4000 <made
    """
    with own_network(), serving(tmp_path) as digest, Receiver(HOST) as receiver:
        done = run(cloud_kernel, command, network=network, timeout=LONG)
        mac, found, received, fetched, made = lines(done)
        assert (mac, found) == ("52:54:00:12:34:56", str(mtu))
        assert received.startswith("3 packets transmitted, 3 packets received")
        assert fetched.split()[0] == digest
        assert made.split()[0] == receiver.digest()
        assert interfaces() == ["lo"]


class Receiver:
    """Takes one connection, and all that comes on it."""

    def __init__(self, host: str) -> None:
        self.content = b""
        self.server = socket.create_server(("0.0.0.0", 4000))
        self.server.settimeout(LONG)
        self.thread = threading.Thread(target=self._receive)
        self.thread.start()

    def _receive(self) -> None:
        connection, _ = self.server.accept()
        with connection:
            while part := connection.recv(1 << 16):
                self.content += part

    def digest(self) -> str:
        self.thread.join(LONG)
        return hashlib.sha256(self.content).hexdigest()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *error: object) -> None:
        self.server.close()
        self.thread.join(LONG)


@pytest.mark.needs_passt
def test_it_fetches_through_passt(cloud_kernel: Path, tmp_path: Path) -> None:
    command = f"""
        set -e
        cat /etc/resolv.conf
        {fetch(WORLD)}
    """
    with own_network(), Tap("world", address=(WORLD, 24)), serving(tmp_path) as digest:
        busybox("route", "add", "default", "gw", "192.0.2.254")
        done = run(cloud_kernel, command, network="user", timeout=LONG)
        resolver, fetched = lines(done)
        assert resolver == "nameserver 10.0.2.3"
        assert fetched.split()[0] == digest
