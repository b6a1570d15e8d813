"""Reads back the AML that `ringlet.board.aml` writes, by the grammar and not by the encoder."""

from typing import Any

_INTEGERS = {0x0A: 1, 0x0B: 2, 0x0C: 4, 0x0E: 8}


class Reader:
    """A place in AML; each method reads on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data)
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def sized(self) -> "Reader":
        """The content of a term that starts with PkgLength (20.2.4)."""
        start = self.at
        lead = self.byte()
        follow = lead >> 6
        size = lead & 0x3F
        if follow:
            assert not lead & 0x30
            size = lead & 0xF | int.from_bytes(self.take(follow), "little") << 4
        return Reader(self.take(start + size - self.at))

    def path(self) -> str:
        root = "\\" if self.data[self.at] == ord("\\") else ""
        self.at += len(root)
        return root + self.take(4).decode()

    def value(self) -> Any:
        """An integer, a string, a package as a list, or a buffer as bytes."""
        kind = self.byte()
        if kind in (0, 1):
            return kind
        if kind in _INTEGERS:
            return int.from_bytes(self.take(_INTEGERS[kind]), "little")
        if kind == 0x0D:
            end = self.data.index(0, self.at)
            return self.take(end + 1 - self.at)[:-1].decode()
        if kind == 0x12:
            package = self.sized()
            elements = [package.value() for _ in range(package.byte())]
            assert package.at == len(package.data)
            return elements
        assert kind == 0x11
        buffer = self.sized()
        size = buffer.value()
        assert size == len(buffer.data) - buffer.at
        return buffer.take(size)

    def terms(self) -> dict[str, Any]:
        """A list of terms: names with their values, scopes and devices with their terms."""
        found: dict[str, Any] = {}
        while self.at < len(self.data):
            kind = self.byte()
            if kind == 0x08:
                path = self.path()
                content = self.value()
            else:
                assert kind == 0x10 or self.data[self.at - 1 : self.at + 1] == b"\x5b\x82"
                self.at += kind == 0x5B
                inner = self.sized()
                path = inner.path()
                content = inner.terms()
            assert path not in found
            found[path] = content
        return found


def read(data: bytes) -> dict[str, Any]:
    return Reader(data).terms()


def eisa_id(value: int) -> str:
    """The seven characters of an EISA ID (6.1.5)."""
    number = int.from_bytes(value.to_bytes(4, "little"), "big")
    letters = "".join(chr(ord("@") + (number >> shift & 0x1F)) for shift in (26, 21, 16))
    return f"{letters}{number & 0xFFFF:04X}"


def resources(data: bytes) -> list[tuple[int, bytes]]:
    """The descriptors of a resource template (6.4): tag and content, without the end tag."""
    found = []
    at = 0
    while data[at] != 0x79:
        if data[at] & 0x80:
            tag, start, size = data[at], at + 3, int.from_bytes(data[at + 1 : at + 3], "little")
        else:
            tag, start, size = data[at] & 0x78, at + 1, data[at] & 7
        found.append((tag, data[start : start + size]))
        at = start + size
    assert at + 2 == len(data)
    return found
