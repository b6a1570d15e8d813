"""The headers of a 64-bit ELF file of the host: a program, or a module of a kernel.

boot/elf.py is for the kernel of a guest, which is hostile, and loads the kernel into memory. This
module only reads files that come with a distribution.

Source: System V ABI, chapters 4 and 5 (Object Files; Program Loading).
"""

from __future__ import annotations

import struct

EM_X86_64 = 62
PT_INTERP = 3

_HEADER = struct.Struct("<16x2HI3QI6H")  # the fields e_type to e_shstrndx
_PROGRAM_HEADER = struct.Struct("<2I6Q")
_SECTION_HEADER = struct.Struct("<2I4Q2I2Q")


class ElfFile:
    """The headers of an ELF file. Raises `ValueError` if it is no 64-bit ELF, or is truncated."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(b"\x7fELF\x02\x01"):
            raise ValueError("it isn't a 64-bit ELF")
        self._data = data
        fields = self._unpack(_HEADER, 0)
        _, self.machine, _, _, self._segments, self._sections, _, _, *counts = fields
        self._segment_size, self._segment_count = counts[:2]
        self._section_size, self._section_count, self._names = counts[2:]

    def segment_types(self) -> list[int]:
        """Returns the p_type of each program header. Raises `ValueError`."""
        places = (self._segments + n * self._segment_size for n in range(self._segment_count))
        return [self._unpack(_PROGRAM_HEADER, place)[0] for place in places]

    def section(self, name: bytes) -> bytes:
        """Returns the content of the section `name`. Raises `ValueError` if there is none."""
        _, names = self._section(self._names)
        for start, content in map(self._section, range(self._section_count)):
            if names[start : start + len(name) + 1] == name + b"\0":
                return content
        raise ValueError(f"it has no section {name.decode()}")

    def _section(self, number: int) -> tuple[int, bytes]:
        """Returns the offset of the section's name in the table of names, and the content."""
        place = self._sections + number * self._section_size
        name, _, _, _, offset, size, *_ = self._unpack(_SECTION_HEADER, place)
        return name, self._data[offset : offset + size]

    def _unpack(self, header: struct.Struct, place: int) -> tuple[int, ...]:
        if place + header.size > len(self._data):
            raise ValueError("it is cut short")
        return header.unpack_from(self._data, place)
