"""Moves network devices of the host into a container's network namespace: linux.netDevices.

This process moves the devices, since it has the host's rights, once the namespace exists and
before anything runs in it. A device loses its addresses when it is moved. So the addresses are
read before the move and set again after it. This module speaks netlink itself: the import of a
library takes longer than a container takes to run.

Source: OCI Runtime Specification 1.3, config-linux.md, "Network Devices"; netlink(7),
rtnetlink(7); Linux, net/core/rtnetlink.c (do_setlink); <linux/if_link.h>, <linux/if_addr.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from ringlet.container.spec.linux import namespace
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.container.spec.types import Config

_GETLINK, _SETLINK, _NEWADDR, _GETADDR = 18, 19, 20, 22  # RTM_...
_REQUEST, _ACK, _DUMP, _CREATE, _EXCL = 0x1, 0x4, 0x300, 0x400, 0x200  # NLM_F_...
_ERROR, _DONE = 2, 3  # NLMSG_...
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_IFNAME, _NET_NS_FD, _NEW_IFINDEX = 3, 28, 49  # IFLA_...
_LABEL, _CACHEINFO = 3, 6  # IFA_...
_PERMANENT = 0x80  # IFA_F_PERMANENT
_GLOBAL = 0  # RT_SCOPE_UNIVERSE
_UP = 1  # IFF_UP
_CLONE_NEWNET = 0x4000_0000
_TRIES = 64  # how many indices to try where the device's own index is taken


class NetDeviceError(RingletError):
    """A network device that the container can't have."""


def move(config: Config, pid: int) -> None:
    """Moves linux.netDevices into the container's network namespace, with their addresses, and up.

    A new namespace is that of the process `pid`; a joined namespace has a path. If a device fails,
    those moved before it stay in the namespace. When the namespace ends, they end with it, or go
    back to the host. Raises NetDeviceError.
    """
    devices = config["linux"]["netDevices"]
    network = namespace(config["linux"], "network")
    path = network.get("path") if network is not None else None
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(path or f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _socket_in(theirs, ours) as inside, _Netlink() as outside:
                indices = {name: _index(name) for name in devices}  # if one is missing, none moves
                for name, index in indices.items():
                    try:
                        _move(index, devices[name].get("name", name), outside, inside, theirs)
                    except OSError as error:
                        raise _failed(name, error) from None
        finally:
            os.close(theirs)
    finally:
        os.close(ours)


class _Netlink:
    """A socket to the kernel, for the network namespace in which the socket is made."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def __enter__(self) -> _Netlink:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields the type and content of each answer. Raises OSError if the kernel refuses."""
        size = _HEADER.size + len(body)
        self.socket.send(_HEADER.pack(size, kind, _REQUEST | flags, 0, 0) + body)
        while True:
            data = self.socket.recv(1 << 16)
            while data:
                size, kind, *_ = _HEADER.unpack_from(data)
                content = data[_HEADER.size : size]
                data = data[(size + 3) & ~3 :]
                if kind == _ERROR and (number := -struct.unpack_from("=i", content)[0]):
                    raise OSError(number, os.strerror(number))
                if kind in (_ERROR, _DONE):
                    return
                yield kind, content

    def has(self, name: str) -> bool:
        """Returns whether there is a device with this name."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(_IFNAME, os.fsencode(name) + b"\0")
        try:
            self.tell(_GETLINK, 0, body)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def tell(self, kind: int, flags: int, body: bytes) -> None:
        """Sends a request, and waits until the kernel has done it."""
        for _ in self.ask(kind, flags | _ACK, body):
            pass


def _socket_in(theirs: int, ours: int) -> _Netlink:
    """Returns a socket of the namespace `theirs`; this thread is back in `ours` on return."""
    from ctypes import CDLL, get_errno  # os.setns exists only from Python 3.12 on

    library = CDLL(None, use_errno=True)
    if library.setns(theirs, _CLONE_NEWNET):
        number = get_errno()
        raise NetDeviceError(
            f"the container's network namespace: {os.strerror(number)}",
            "it takes root to give it devices of the host",
        )
    try:
        return _Netlink()
    finally:
        if library.setns(ours, _CLONE_NEWNET):
            os._exit(125)  # a process in a wrong namespace can do nothing right


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:  # this error has no number
        raise _failed(name, OSError(errno.ENODEV, os.strerror(errno.ENODEV))) from None


def _failed(name: str, error: OSError) -> NetDeviceError:
    return NetDeviceError(
        f"network device {name}: {error.strerror}",
        _HINTS.get(error.errno or 0, "see linux.netDevices in config.json"),
    )


_HINTS = {
    errno.ENODEV: "`ip link` lists those of this host",
    errno.EEXIST: "the container's network namespace has one of that name: give it another one",
    errno.EPERM: "it takes root to give a container devices of the host",
    errno.EINVAL: "some devices, such as lo, belong to their namespace for good",
}


def _move(index: int, new: str, outside: _Netlink, inside: _Netlink, theirs: int) -> None:
    # The kernel finds this out only after the move, and leaves the device there under its old name.
    if "%" not in new and inside.has(new):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    addresses = _addresses(outside, index)
    there = _move_to_index(index, new, outside, theirs)
    for head, attributes in addresses:
        message = head + struct.pack("=I", there) + attributes
        inside.tell(_NEWADDR, _CREATE | _EXCL, message)
    inside.tell(_SETLINK, 0, _LINK.pack(0, 0, there, _UP, _UP))


def _move_to_index(index: int, new: str, outside: _Netlink, theirs: int) -> int:
    """Moves a device; returns its new index, since `new` may be a template and not its name."""
    for there in range(index, index + _TRIES):
        try:
            outside.tell(
                _SETLINK,
                0,
                _LINK.pack(0, 0, index, 0, 0)
                + _attribute(_IFNAME, os.fsencode(new) + b"\0")
                + _attribute(_NET_NS_FD, struct.pack("=I", theirs))
                + _attribute(_NEW_IFINDEX, struct.pack("=i", there)),
            )
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        else:
            return there
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _addresses(outside: _Netlink, index: int) -> list[tuple[bytes, bytes]]:
    """Returns the permanent global addresses: the bytes before the index, and the attributes."""
    addresses = []
    for kind, content in outside.ask(_GETADDR, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0)):
        _, _, flags, scope, of = _ADDRESS.unpack_from(content)
        if kind != _NEWADDR or of != index or scope != _GLOBAL or not flags & _PERMANENT:
            continue
        kept = b"".join(
            _attribute(number, value)
            for number, value in _attributes(content[_ADDRESS.size :])
            # A label begins with the device's name, which may change. The cache info is the age.
            if number not in (_LABEL, _CACHEINFO)
        )
        addresses.append((content[:4], kept))
    return addresses


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size, number = _ATTRIBUTE.unpack_from(data)
        yield number, data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]


def _attribute(number: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, number) + value + bytes(-size % 4)
