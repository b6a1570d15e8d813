"""The headers of a 64-bit ELF."""

import struct

import pytest

from ringlet.linux.elf_file import EM_X86_64, PT_INTERP, ElfFile

from .module_builder import module


def program(*types: int) -> bytes:
    """A program with a segment of each of these types."""
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<2HI3QI6H", 2, EM_X86_64, 1, 0, 64, 0, 0, 64, 56, len(types), 0, 0, 0)
    return header + b"".join(struct.pack("<2I6Q", kind, *(0,) * 7) for kind in types)


def test_segments_are_told_by_their_types() -> None:
    elf = ElfFile(program(1, PT_INTERP, 6))
    assert (elf.machine, elf.segment_types()) == (EM_X86_64, [1, PT_INTERP, 6])
    assert ElfFile(program()).segment_types() == []


def test_a_section_is_found_by_its_whole_name() -> None:
    elf = ElfFile(module("needed"))
    assert b"depends=needed\0" in elf.section(b".modinfo")
    with pytest.raises(ValueError, match=r"no section \.mod"):
        elf.section(b".mod")


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh", b"\x7fELF\x01\x01", b"\x7fELF\x02\x02"])
def test_what_is_no_64_bit_elf_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="isn't a 64-bit ELF"):
        ElfFile(data.ljust(100, b"\0"))


@pytest.mark.parametrize("size", [16, 63, 64, 119])
def test_one_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        ElfFile(program(1)[:size]).segment_types()
