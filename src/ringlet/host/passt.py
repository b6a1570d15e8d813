"""A network without root: passt, which makes the guest's packets connections of this user.

Source: passt(1); passt's socket protocol, which is QEMU's (`-netdev stream`): before each frame
stands its length in 4 bytes, big-endian.
"""

from __future__ import annotations

import _socket as socket
import os
import select
import shutil
import subprocess
from contextlib import suppress
from threading import Lock

from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError
from ringlet.host.descriptor import close_all
from ringlet.host.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# The guest's network, the same as that of QEMU's `-netdev user`.
ADDRESS, PREFIX, GATEWAY, RESOLVER = "10.0.2.15", 24, "10.0.2.2", "10.0.2.3"
MTU = 65520  # passt is faster the larger its packets are

_FRAME_MOST = 65535 + 18
_RECEIVE_MOST = 256 << 10  # bytes at once
_BEGIN = 10  # seconds that passt may take for its start
_PATIENCE = 0.05  # seconds that frames wait for a slow passt
_END = 5  # seconds for passt to end by itself


class Forward:
    """A port of the host that leads to a port of the guest.

    address   the host's address that is listened on; by default, only the host itself can connect
    protocol  `tcp` or `udp`
    """

    __slots__ = ("address", "guest", "host", "protocol")

    def __init__(
        self, host: int, guest: int, protocol: str = "tcp", address: str = "127.0.0.1"
    ) -> None:
        self.host, self.guest = host, guest
        self.protocol, self.address = protocol, address


class Passt(Closing):
    """A running passt, which the guest's frames go to.

    mac       the guest's MAC address, 6 bytes
    mtu       the most bytes of a packet; None for `MTU`
    forwards  the ports of the host that lead into the guest

    The guest's address is `ADDRESS`, its router `GATEWAY` and its name server `RESOLVER`; passt
    answers DHCP, too. The guest doesn't reach services that listen only on the host's loopback
    interface. Raises `RingletError` if passt is missing or can't start.
    """

    has_header = False

    def __init__(
        self, mac: bytes, *, mtu: int | None = None, forwards: Sequence[Forward] = ()
    ) -> None:
        program = shutil.which("passt")
        if program is None:
            raise RingletError(
                "there is no passt, which a network of the kind user needs",
                "install it (Debian: apt install passt), or use --network tap as root",
            )
        self.mtu = MTU if mtu is None else mtu
        words = [program, "--foreground", "--quiet", "--mtu", str(self.mtu)]
        words += ["--address", ADDRESS, "--netmask", str(PREFIX), "--gateway", GATEWAY]
        words += ["--dns-forward", RESOLVER, "--no-map-gw", "--ipv4-only"]
        for forward in forwards:
            option = "-t" if forward.protocol == "tcp" else "-u"
            words += [option, f"{forward.address}/{forward.host}:{forward.guest}"]
        self._unsent = self._received = b""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # passt doesn't wait for a reader of its messages: what doesn't fit into the pipe is lost.
        messages, passts_messages = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                [*words, "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=passts_messages,
                stderr=passts_messages,
                start_new_session=True,  # Ctrl-C on the terminal is the guest's affair
            )
        except OSError as error:
            close_all((messages, passts_messages))
            ours.close()
            raise RingletError(
                f"{program} can't be run: {error.strerror}", "install passt again"
            ) from error
        finally:
            theirs.close()
        os.close(passts_messages)
        self._socket, self._messages = ours, messages
        self._poll = select.epoll()
        self._sending = Lock()
        try:
            self._greet(mac)
        except BaseException:
            self.close()
            raise
        self._socket.setblocking(False)
        self._poll.register(self._socket.fileno(), select.EPOLLIN)
        self._writable = select.poll()
        self._writable.register(self._socket.fileno(), select.POLLOUT)

    def _greet(self, mac: bytes) -> None:
        """Waits for passt, which listens on its ports once it answers a request of ARP."""
        address, gateway = map(socket.inet_aton, (ADDRESS, GATEWAY))
        request = b"\xff" * 6 + mac + bytes.fromhex("0806 0001 0800 06 04 0001")
        request += mac + address + bytes(6) + gateway
        try:
            self._socket.settimeout(_BEGIN)
            self._socket.sendall(len(request).to_bytes(4, "big") + request)
            missing = 4 + len(request)
            while missing > 0:
                part = self._socket.recv(missing)
                if not part:
                    raise EOFError
                missing -= len(part)
        except (OSError, EOFError) as error:
            raise ConfigError(
                f"passt doesn't start: {self._complaint()}",
                "look at the ports that are forwarded, and whether the host has a network",
            ) from error

    def _complaint(self) -> str:
        """Returns the last line that passt has written, or how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        text = b""
        with suppress(BlockingIOError):
            text = os.read(self._messages, 1 << 16)
        lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
        known = [line for line in lines if "syslog" not in line]
        return printable(known[-1]) if known else f"status {self._process.poll()}"

    def fileno(self) -> int:
        """Returns a descriptor that is readable if `to_guest` has something to do."""
        return self._poll.fileno()

    def from_guest(self, frames: Sequence[Sequence[bytes | memoryview]]) -> int:
        """Sends the frames to passt; drops them all if passt still has others to take."""
        stream: list[bytes | memoryview] = []
        for parts in frames:
            stream.append(sum(map(len, parts)).to_bytes(4, "big"))
            stream += parts
        with self._sending:
            if self._unsent and not self._send(b"", _PATIENCE):
                return 0
            self._send(b"".join(stream), _PATIENCE)
        return len(frames)

    def _send(self, data: bytes, patience: float) -> bool:
        """Sends what is left and then `data`; returns whether nothing is left.

        Waits so many seconds for passt. Where something is left, `fileno` tells of the time for it.
        """
        rest = memoryview(self._unsent + data)
        try:
            while rest:
                try:
                    rest = rest[self._socket.send(rest, socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    if not self._writable.poll(patience * 1000):
                        break
        except OSError:  # passt is gone; `to_guest` says so
            rest = rest[:0]
        if bool(rest) != bool(self._unsent):
            events = select.EPOLLIN | select.EPOLLOUT * bool(rest)
            self._poll.modify(self._socket.fileno(), events)
        self._unsent = bytes(rest)
        return not rest

    def to_guest(self) -> list[bytes]:
        """Returns the frames for the guest that are there."""
        if self._unsent:
            with self._sending:
                self._send(b"", 0)
        try:
            part = self._socket.recv(_RECEIVE_MOST)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError from error
        if not part:
            raise EOFError
        data = self._received + part
        frames = []
        start = 0
        while len(data) - start >= 4:
            size = int.from_bytes(data[start : start + 4], "big")
            if size > _FRAME_MOST:
                raise EOFError
            if len(data) - start < 4 + size:
                break
            frames.append(data[start + 4 : start + 4 + size])
            start += 4 + size
        self._received = data[start:]
        return frames

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool, ecn: bool) -> None:
        """Does nothing: passt's frames are complete."""

    def close(self) -> None:
        """Ends passt; a second call does nothing."""
        if self._messages < 0:
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._poll.close()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._messages)
        self._messages = -1
