"""A tap interface: a network card of the host whose cable ends in a guest.

Source: Linux, Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h; netdevice(7).
"""

from __future__ import annotations

import _socket as socket
import errno
import fcntl
import os
import struct

from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DEVICE = "/dev/net/tun"
NAME_MOST = 15  # bytes of an interface's name (IFNAMSIZ, without the zero byte)

# ioctls of /dev/net/tun, and their flags
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8

# ioctls of interfaces
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_SIOCGIFMTU, _SIOCSIFMTU, _SIOCGIFINDEX, _SIOCBRADDIF = 0x8921, 0x8922, 0x8933, 0x89A2
_IFF_UP = 1

_HEADER_SIZE = 12
_FRAME_MOST = _HEADER_SIZE + 65535 + 18
_PARTS_MOST = 1024  # of one writev(2)
_BATCH = 64  # frames


class Tap(Closing):
    """A tap interface that is up, with the header of virtio before each frame.

    name     an interface that is there, or the name of a new one; a name with %d gets a number
    mtu      the most bytes of a packet; None to leave it as it is
    address  the host's IPv4 address on the interface, and the length of its prefix
    bridge   the bridge of the host that the interface becomes a port of

    An interface that wasn't there goes when the tap is closed. Raises `RingletError`.
    """

    has_header = True

    def __init__(
        self,
        name: str = "ringlet%d",
        *,
        mtu: int | None = None,
        address: tuple[str, int] | None = None,
        bridge: str | None = None,
    ) -> None:
        self._fd = _open_device()
        try:
            self.name = _attach(self._fd, name)
            fcntl.ioctl(self._fd, _TUNSETVNETHDRSZ, struct.pack("i", _HEADER_SIZE))
            os.set_blocking(self._fd, False)
            control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                self.mtu = self._set_up(control.fileno(), mtu, address, bridge)
            finally:
                control.close()
        except BaseException:
            os.close(self._fd)
            raise

    def _set_up(
        self, control: int, mtu: int | None, address: tuple[str, int] | None, bridge: str | None
    ) -> int:
        name = self.name
        try:
            if mtu is not None:
                _request(control, _SIOCSIFMTU, name, struct.pack("i", mtu))
            if address is not None:
                text, prefix = address
                mask = (0xFFFF_FFFF << 32 - prefix & 0xFFFF_FFFF).to_bytes(4, "big")
                _request(control, _SIOCSIFADDR, name, _ipv4(socket.inet_aton(text)))
                _request(control, _SIOCSIFNETMASK, name, _ipv4(mask))
            if bridge is not None:
                index = _request(control, _SIOCGIFINDEX, name)[:4]
                self._join(control, bridge, index)
            (flags,) = struct.unpack("H", _request(control, _SIOCGIFFLAGS, name)[:2])
            if not flags & _IFF_UP:
                _request(control, _SIOCSIFFLAGS, name, struct.pack("H", flags | _IFF_UP))
            (found,) = struct.unpack("i", _request(control, _SIOCGIFMTU, name)[:4])
            return int(found)
        except OSError as error:
            raise _refused(name, error) from error

    def _join(self, control: int, bridge: str, index: bytes) -> None:
        try:
            _request(control, _SIOCBRADDIF, bridge, index)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise
            what = "is no bridge" if error.errno == errno.EOPNOTSUPP else f"{error.strerror}"
            if error.errno == errno.ENODEV:
                what = "there is no such interface"
            raise ConfigError(
                f"the bridge {bridge} can't be used: {what}",
                f"make one: sudo ip link add {bridge} up type bridge",
            ) from error

    def fileno(self) -> int:
        """Returns a descriptor that is readable if a frame for the guest waits."""
        return self._fd

    def from_guest(self, frames: Sequence[Sequence[bytes | memoryview]]) -> int:
        """Hands the frames to the host's kernel; returns how many of them it took."""
        taken = 0
        for parts in frames:
            try:
                os.writev(self._fd, parts if len(parts) <= _PARTS_MOST else [b"".join(parts)])
                taken += 1
            except OSError:  # the kernel refuses this frame, or the interface is down or gone
                pass
        return taken

    def to_guest(self) -> list[bytes]:
        """Returns the frames for the guest that wait, at most 64 of them."""
        frames: list[bytes] = []
        try:
            while len(frames) < _BATCH:
                frames.append(os.read(self._fd, _FRAME_MOST))
        except BlockingIOError:
            pass
        except OSError as error:
            if not frames:
                raise EOFError from error  # somebody has removed the interface
        return frames

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool, ecn: bool) -> None:
        """Says what frames for the guest may leave to the guest: checksums, and segmentation."""
        flags = checksum * _TUN_F_CSUM | tso4 * _TUN_F_TSO4 | tso6 * _TUN_F_TSO6
        if tso4 or tso6:
            flags |= ecn * _TUN_F_TSO_ECN
        try:
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, flags)
        except OSError:
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, 0)

    def close(self) -> None:
        """Closes the tap; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open_device() -> int:
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = "sudo modprobe tun; without it, use --network user"
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = "run ringlet as root, or use --network user"
        raise RingletError(f"{_DEVICE} can't be opened: {error.strerror}", hint) from error


def _attach(fd: int, name: str) -> str:
    """Makes the interface, or takes one that is there; returns its name."""
    request = struct.pack("16sH22x", os.fsencode(name), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
    try:
        made = fcntl.ioctl(fd, _TUNSETIFF, request)
    except OSError as error:
        raise _refused(name, error) from error
    return os.fsdecode(made[:16].rstrip(b"\0"))


def _request(control: int, number: int, name: str, value: bytes = b"") -> bytes:
    """Does an ioctl with a struct ifreq; returns what follows the name in it."""
    return fcntl.ioctl(control, number, struct.pack("16s24s", os.fsencode(name), value))[16:]


def _ipv4(address: bytes) -> bytes:
    """Returns a struct sockaddr_in."""
    return struct.pack("HH4s8x", socket.AF_INET, 0, address)


def _refused(name: str, error: OSError) -> RingletError:
    if error.errno == errno.EPERM:
        new = name.replace("%d", "0")
        return RingletError(
            f"no permission for the tap interface {name}",
            f"run ringlet as root, or let root make one: sudo ip tuntap add {new} mode tap "
            "user $USER && sudo ip link set dev "
            f"{new} up; or use --network user",
        )
    if error.errno == errno.EBUSY:
        return ConfigError(
            f"the tap interface {name} is in use", "name another one, or end who uses it"
        )
    if error.errno == errno.EINVAL:
        return ConfigError(
            f"{name} can't be a tap interface, or there is another kind of interface of this name",
            "name another one",
        )
    return RingletError(
        f"the tap interface {name} can't be used: {error.strerror}", "look at `ip link`"
    )
