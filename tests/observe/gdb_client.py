"""A client of the GDB server that is less polite than GDB."""

import socket
from pathlib import Path

from ringlet.observe.gdb.packets import PacketReader, Signal

PATIENCE = 60  # seconds


def packet(data: bytes) -> bytes:
    return b"$%b#%02x" % (data, sum(data) & 0xFF)


def expand(data: bytes) -> bytes:
    """What GDB makes of runs, as its manual says."""
    out = bytearray()
    at = 0
    while at < len(data):
        if data[at : at + 1] == b"*":
            out += out[-1:] * (data[at + 1] - 29)
            at += 1
        else:
            out.append(data[at])
        at += 1
    return bytes(out)


class Client:
    """One connection to the server at a port or a path, as `GdbServer.place` names it."""

    def __init__(self, place: str) -> None:
        if place.startswith(":"):
            self.socket = socket.create_connection(("127.0.0.1", int(place[1:])))
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(Path(place)))
        self.socket.settimeout(PATIENCE)
        self._reader = PacketReader()
        self.found: list[bytes | Signal] = []

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def item(self) -> bytes | Signal:
        """The next packet or sign that comes. Raises EOFError at the end."""
        while not self.found:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.found += self._reader.feed(data)
        return self.found.pop(0)

    def reply(self) -> bytes:
        """The data of the next packet that comes."""
        while not isinstance(item := self.item(), bytes):
            pass
        return expand(item)

    def ask(self, data: bytes) -> bytes:
        self.send(packet(data))
        return self.reply()

    @property
    def has_ended(self) -> bool:
        """Whether the server closes the connection."""
        try:
            while True:
                self.item()
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False
