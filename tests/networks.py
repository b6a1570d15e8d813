"""A network namespace for a test, and frames as they lie on the network."""

import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x4000_0000

MAC = bytes.fromhex("525400000001")
HOST, GUEST = "192.168.7.1", "192.168.7.2"
BROADCAST = b"\xff" * 6
ARP, IPV4 = b"\x08\x06", b"\x08\x00"
ICMP, UDP = 1, 17
ECHO, ECHO_REPLY = 8, 0


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, has a network with nothing but a loopback interface."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            busybox("ip", "link", "set", "lo", "up")
            yield
        finally:
            assert libc.setns(before, _CLONE_NEWNET) == 0
    finally:
        os.close(before)


def busybox(*words: str) -> str:
    """What this command of busybox writes."""
    return subprocess.run(
        ["busybox", *words], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def interfaces() -> list[str]:
    """The names of the network's interfaces."""
    lines = busybox("ip", "-o", "link").splitlines()
    return [line.split(": ")[1].partition("@")[0] for line in lines]


def address_of(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def checksum(data: bytes) -> int:
    """RFC 1071; 0 over data that has its checksum in it."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp_request(target: str, sender: str = HOST) -> bytes:
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    addresses = MAC + address_of(sender) + bytes(6) + address_of(target)
    return BROADCAST + MAC + ARP + fixed + addresses


def packet(
    protocol: int, content: bytes, to: bytes, target: str = GUEST, sender: str = HOST
) -> bytes:
    """A frame with an IPv4 packet."""
    addresses = address_of(sender) + address_of(target)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0) + addresses
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return to + MAC + IPV4 + header + content


def ping(to: bytes, number: int = 0, data: bytes = bytes(56), target: str = GUEST) -> bytes:
    content = struct.pack("!BBHHH", ECHO, 0, 0, 0x1234, number) + data
    content = content[:2] + checksum(content).to_bytes(2, "big") + content[4:]
    return packet(ICMP, content, to, target)


def udp(to: bytes, target: str, sender: str, ports: tuple[int, int], data: bytes) -> bytes:
    """A datagram from the first of the ports to the second, without a checksum."""
    content = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    return packet(UDP, content, to, target, sender)
