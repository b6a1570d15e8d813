"""AML, ACPI's bytecode: the part of AML that a static description of devices needs.

Each function returns the bytes of one term; a list of terms is their concatenation. Source:
ACPI 6.5, 20.2 (AML grammar), 6.4 (resource descriptors) and 6.1.5 (_HID).
"""

from __future__ import annotations

_ROOT = b"\\"
_ZERO, _ONE = b"\x00", b"\x01"
_NAME, _SCOPE, _BUFFER, _PACKAGE, _DEVICE = b"\x08", b"\x10", b"\x11", b"\x12", b"\x5b\x82"
_STRING = b"\x0d"
_INTEGERS = {1: b"\x0a", 2: b"\x0b", 4: b"\x0c", 8: b"\x0e"}  # the prefix for a number of bytes

_END_TAG = b"\x79\x00"  # a checksum of 0 means that the guest doesn't check it


def _path(path: str) -> bytes:
    """Returns a NameString of one segment; a leading backslash means the root."""
    root, name = (_ROOT, path[1:]) if path.startswith("\\") else (b"", path)
    return root + name.ljust(4, "_").encode()


def _sized(content: bytes) -> bytes:
    """Returns the PkgLength, which includes its own length, and then `content`."""
    size = len(content) + 1
    if size < 1 << 6:
        return bytes([size]) + content
    # The first byte has bits 3..0 of the length; its bits 7..6 say how many bytes follow.
    more = next(n for n in (1, 2, 3) if size + n < 1 << 4 + 8 * n)
    size += more
    return bytes([more << 6 | size & 0xF]) + (size >> 4).to_bytes(more, "little") + content


def integer(value: int) -> bytes:
    """Returns an integer of at most 64 bits."""
    if value < 2:
        return (_ZERO, _ONE)[value]
    size = next(size for size in _INTEGERS if value < 1 << 8 * size)
    return _INTEGERS[size] + value.to_bytes(size, "little")


def string(text: str) -> bytes:
    """Returns a string of ASCII characters."""
    return _STRING + text.encode("ascii") + b"\0"


def hardware_id(text: str) -> bytes:
    """Returns the value of _HID: an EISA ID ("PNP0501") as an integer, other IDs as a string."""
    if len(text) != 7:
        return string(text)
    letters = 0
    for letter in text[:3]:
        letters = letters << 5 | ord(letter) - ord("@")
    packed = letters.to_bytes(2, "big") + bytes.fromhex(text[3:])
    return integer(int.from_bytes(packed, "little"))


def buffer(data: bytes) -> bytes:
    """Returns a buffer of these bytes."""
    return _BUFFER + _sized(integer(len(data)) + data)


def package(*elements: bytes) -> bytes:
    """Returns a package of at most 255 elements."""
    return _PACKAGE + _sized(bytes([len(elements)]) + b"".join(elements))


def named(path: str, value: bytes) -> bytes:
    """Returns Name(path, value)."""
    return _NAME + _path(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    """Returns Scope(path) { terms }."""
    return _SCOPE + _sized(_path(path) + b"".join(terms))


def device(name: str, *terms: bytes) -> bytes:
    """Returns Device(name) { terms }."""
    return _DEVICE + _sized(_path(name) + b"".join(terms))


def resources(*descriptors: bytes) -> bytes:
    """Returns ResourceTemplate() { descriptors }, the value of _CRS."""
    return buffer(b"".join(descriptors) + _END_TAG)


def io(first: int, count: int) -> bytes:
    """Returns IO (Decode16, first, first, 1, count): at most 255 ports (6.4.2.5)."""
    port = first.to_bytes(2, "little")
    return b"\x47\x01" + port + port + bytes([1, count])


def irq(number: int) -> bytes:
    """Returns IRQNoFlags () { number }: 0 to 15, edge-triggered, active high (6.4.2.1)."""
    return b"\x22" + (1 << number).to_bytes(2, "little")


def memory32(address: int, size: int) -> bytes:
    """Returns Memory32Fixed (ReadWrite, address, size), below 4 GiB (6.4.3.4)."""
    fields = address.to_bytes(4, "little") + size.to_bytes(4, "little")
    return b"\x86\x09\x00" + b"\x01" + fields


def interrupt(number: int) -> bytes:
    """Returns Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { number } (6.4.3.6).

    `number` is a GSI.
    """
    return b"\x89\x06\x00" + b"\x03" + b"\x01" + number.to_bytes(4, "little")
