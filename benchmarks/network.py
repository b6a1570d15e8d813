"""A network's packets: pings that guests/net answers over a tap interface, natively."""

import ctypes
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from measure import RINGLET, Row, guest, qemu

ROUNDS = 7
PINGS = 400
SIZES = (56, 1400)  # bytes of data
WINDOWS = (1, 16)  # pings under way at a time
HOST, GUEST = "192.168.7.1", "192.168.7.2"
_CLONE_NEWNET = 0x4000_0000
_ECHO = 8


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _request(number: int, size: int) -> bytes:
    data = struct.pack("!BBHHH", _ECHO, 0, 0, 7, number) + bytes(size)
    return data[:2] + _checksum(data).to_bytes(2, "big") + data[4:]


def _ping(size: int, window: int) -> float:
    """Microseconds of a ping, with so many under way."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as host:
        requests = [_request(number, size) for number in range(PINGS)]
        start = time.perf_counter()
        for request in requests[:window]:
            host.sendto(request, (GUEST, 0))
        for number in range(PINGS):
            if not select.select([host], [], [], 10)[0]:
                raise TimeoutError("a ping has no answer")
            host.recv(65536)
            if number + window < PINGS:
                host.sendto(requests[number + window], (GUEST, 0))
        return (time.perf_counter() - start) * 1e6 / PINGS


@contextmanager
def _guest(command: list[str]) -> Iterator[None]:
    """The guest, once it answers."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for words in ("addr replace 192.168.7.1/24 dev vm0", "link set vm0 up"):
            while subprocess.run(["ip", *words.split()], stderr=subprocess.DEVNULL).returncode:
                time.sleep(0.02)  # the interface comes with the guest
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as host:
            while True:
                host.sendto(_request(0xFFFF, 8), (GUEST, 0))
                if select.select([host], [], [], 0.2)[0]:
                    break
        yield
    finally:
        process.terminate()
        process.wait()


def _results(command: list[str]) -> dict[tuple[int, int], float]:
    with _guest(command):
        return {(size, window): _ping(size, window) for size in SIZES for window in WINDOWS}


def measure() -> list[Row]:
    """Pings over a tap: at most 1.25 times as long as with QEMU; aim 1.0."""
    if ctypes.CDLL(None).unshare(_CLONE_NEWNET):
        raise OSError("the benchmark of the network takes root")
    ours = [RINGLET, "boot", "net", "--network", "tap:vm0", "--serial", "none"]
    theirs = qemu(
        guest("net"),
        *("-global", "virtio-mmio.force-legacy=false"),
        *("-netdev", "tap,id=n,ifname=vm0,script=no,downscript=no,vnet_hdr=on"),
        *("-device", "virtio-net-device,netdev=n"),
        machine="microvm,pic=off,pit=off,rtc=off,acpi=off",  # else the guest isn't told of it
    )
    found: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for _ in range(ROUNDS):
        for which, command in enumerate((ours, theirs)):
            if command is not None:
                for what, value in _results(command).items():
                    found.setdefault(what, ([], []))[which].append(value)
    return [
        Row(
            f"a ping of {size} bytes, {window} at a time",
            "us",
            mine,
            "QEMU",
            others,
            limit=1.25,
            aim=1.0,
        )
        for (size, window), (mine, others) in found.items()
    ]
