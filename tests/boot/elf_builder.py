"""Builds small ELF executables, byte by byte, so that a test can put anything into any field."""

from collections.abc import Iterator, Sequence
from struct import Struct, pack
from typing import NamedTuple

PT_LOAD, PT_NOTE = 1, 4

_IDENT = 16
_HEADER_FIELDS = (
    *("e_type", "e_machine", "e_version", "e_entry", "e_phoff", "e_shoff", "e_flags", "e_ehsize"),
    *("e_phentsize", "e_phnum", "e_shentsize", "e_shnum", "e_shstrndx"),
)
_HEADER_CODES = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_PROGRAM_HEADER_FIELDS = {
    32: ["p_type", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_flags", "p_align"],
    64: ["p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align"],
}
_PROGRAM_HEADER_CODES = {32: "IIIIIIII", 64: "IIQQQQQQ"}
HEADER_SIZE = {32: 52, 64: 64}
PROGRAM_HEADER_SIZE = {32: 32, 64: 56}


class Part(NamedTuple):
    """A segment to build: its bytes, and where they go."""

    address: int
    data: bytes
    memory_size: int | None = None  # None: as many as there are bytes
    virtual: int | None = None  # None: the same as the address
    type: int = PT_LOAD
    align: int = 4


def note(
    descriptor: bytes, *, name: bytes = b"Xen\0", kind: int = 18, align: int = 4, size: int = -1
) -> bytes:
    """One note, padded; `size` lies about the descriptor's size."""
    start = pack("<III", len(name), len(descriptor) if size < 0 else size, kind) + name
    start += bytes(-len(start) % align)
    return start + descriptor + bytes(-len(descriptor) % align)


def pvh_note(entry: int, size: int = 4) -> Part:
    """A PT_NOTE segment with the PVH entry point in a descriptor of 4 or 8 bytes."""
    return notes(note(entry.to_bytes(size, "little")))


def notes(data: bytes, align: int = 4) -> Part:
    """A PT_NOTE segment of these notes."""
    return Part(0, data, type=PT_NOTE, align=align)


def build(
    bits: int, parts: Sequence[Part], *, entry: int = 0x100000, machine: int = 62, kind: int = 2
) -> bytearray:
    """An executable of these segments, in this order."""
    size = PROGRAM_HEADER_SIZE[bits]
    offset = HEADER_SIZE[bits] + len(parts) * size
    table = body = b""
    for part in parts:
        fields = {
            "p_type": part.type,
            "p_offset": offset + len(body),
            "p_vaddr": part.address if part.virtual is None else part.virtual,
            "p_paddr": part.address,
            "p_filesz": len(part.data),
            "p_memsz": len(part.data) if part.memory_size is None else part.memory_size,
            "p_flags": 7,
            "p_align": part.align,
        }
        order = (fields[name] for name in _PROGRAM_HEADER_FIELDS[bits])
        table += pack("<" + _PROGRAM_HEADER_CODES[bits], *order)
        body += part.data
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    header = pack(
        "<" + _HEADER_CODES[bits],
        *(kind, machine, 1, entry, HEADER_SIZE[bits], 0, 0, HEADER_SIZE[bits]),
        *(size, len(parts), 0, 0, 0),
    )
    return bytearray(ident + header + table + body)


class Field(NamedTuple):
    """Where a field of a header stands in the image, and its width in bytes."""

    offset: int
    size: int

    def put(self, image: bytearray, value: int) -> None:
        """Set it, the value cut to its width."""
        value &= (1 << 8 * self.size) - 1
        image[self.offset : self.offset + self.size] = value.to_bytes(self.size, "little")

    def get(self, image: bytes | bytearray) -> int:
        """Its value."""
        return int.from_bytes(image[self.offset : self.offset + self.size], "little")


def _fields(names: Sequence[str], codes: str, start: int) -> dict[str, Field]:
    fields = {}
    for name, code in zip(names, codes, strict=True):
        size = Struct("<" + code).size
        fields[name] = Field(start, size)
        start += size
    return fields


def header_fields(bits: int) -> dict[str, Field]:
    """The fields of the ELF header by name."""
    return _fields(_HEADER_FIELDS, _HEADER_CODES[bits], _IDENT)


def program_header_fields(bits: int, index: int) -> dict[str, Field]:
    """The fields of one program header by name, in an image that `build` made."""
    start = HEADER_SIZE[bits] + index * PROGRAM_HEADER_SIZE[bits]
    return _fields(_PROGRAM_HEADER_FIELDS[bits], _PROGRAM_HEADER_CODES[bits], start)


def loads(image: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Address and bytes, bss included, of each PT_LOAD: what must be in memory, as it says."""
    bits = 32 * image[4]
    header = {name: field.get(image) for name, field in header_fields(bits).items()}
    for index in range(header["e_phnum"]):
        start = header["e_phoff"] + index * PROGRAM_HEADER_SIZE[bits]
        table = _fields(_PROGRAM_HEADER_FIELDS[bits], _PROGRAM_HEADER_CODES[bits], start)
        segment = {name: field.get(image) for name, field in table.items()}
        if segment["p_type"] == PT_LOAD and segment["p_memsz"]:
            offset, size = segment["p_offset"], segment["p_filesz"]
            data = bytes(image[offset : offset + size])
            yield segment["p_paddr"], data + bytes(segment["p_memsz"] - size)
