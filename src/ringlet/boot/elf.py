"""Reads ELF executables for x86: headers and notes, and segments into guest memory.

Source: System V ABI, chapters 4 and 5 (Object Files; Program Loading), and its supplements
for i386 and x86-64.

An image is hostile, so this file checks each number in an image before use. Python's integers
don't overflow: a sum that would wrap around in C is beyond the end of the file or the memory here,
and fails the check. Every check of a segment uses physical addresses (p_paddr). Virtual addresses
mean nothing before the guest has its own page tables, and Linux has a segment at virtual address 0.
"""

from __future__ import annotations

from struct import Struct

from ringlet.board import layout
from ringlet.boot.image import require_memory
from ringlet.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringlet.boot.image import Image
    from ringlet.kvm.memory import GuestMemory

MAGIC = b"\x7fELF"
_CLASS, _DATA, _MACHINE = 4, 5, 18  # offsets of e_ident[EI_CLASS], e_ident[EI_DATA], e_machine
_CLASS_BITS = {1: 32, 2: 64}
_LITTLE_ENDIAN, _BIG_ENDIAN = 1, 2

# e_type to e_shstrndx, and one program header in the order of its class.
_HEADER = {32: Struct("<16x2H5I6H"), 64: Struct("<16x2HI3QI6H")}
_PROGRAM_HEADER = {32: Struct("<8I"), 64: Struct("<2I6Q")}
_NOTE = Struct("<3I")  # n_namesz, n_descsz, n_type

_ET_REL, _ET_EXEC, _ET_DYN, _ET_CORE = 1, 2, 3, 4
_EM_386, _EM_X86_64 = 3, 62
_MACHINES = {
    2: "SPARC",
    _EM_386: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "64-bit PowerPC",
    22: "IBM S/390",
    40: "Arm",
    43: "SPARC V9",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}
_PT_LOAD, _PT_NOTE = 1, 4
_LINUX_NOTE = b"Linux\0"  # the name of a vmlinux's notes (linux/elfnote-lto.h, build-salt.h)

# Kernels have a handful of program headers and some hundred bytes of notes.
_MAX_PROGRAM_HEADERS = 128
_MAX_NOTES = 64 * layout.KIB

Note = tuple[bytes, int, bytes]  # name (with its NUL), type and descriptor


class ProgramHeader:
    """A segment: `file_size` bytes at `offset` of the image, and their addresses in memory.

    `flags` are the rights that the ELF states (p_flags), for people to read; None for a file that
    is no ELF.
    """

    __slots__ = (
        "address",
        "align",
        "end",
        "file_size",
        "flags",
        "memory_size",
        "offset",
        "virtual",
    )

    def __init__(
        self,
        offset: int,
        address: int,
        file_size: int,
        memory_size: int,
        align: int,
        virtual: int | None = None,
        flags: int | None = None,
    ) -> None:
        self.offset = offset
        self.address = address  # physical: p_paddr
        self.file_size = file_size
        self.memory_size = memory_size  # the bytes beyond file_size are zero (bss)
        self.end = address + memory_size
        self.align = align
        self.flags = flags
        self.virtual = address if virtual is None else virtual  # p_vaddr


class Elf:
    """The values that a loader needs from an executable's headers."""

    __slots__ = ("bits", "entry", "is_dynamic", "notes", "segments")

    def __init__(
        self,
        bits: int,
        entry: int,
        segments: list[ProgramHeader],
        notes: list[ProgramHeader],
        *,
        is_dynamic: bool = False,
    ) -> None:
        self.is_dynamic = is_dynamic  # of type ET_DYN
        self.bits = bits
        self.entry = entry
        self.segments = segments  # non-empty PT_LOAD segments, in the order of their addresses
        self.notes = notes  # PT_NOTE segments

    @property
    def places(self) -> list[tuple[int, int]]:
        """The first address of each segment, and one past its last address."""
        return [(segment.address, segment.end) for segment in self.segments]


def inconsistent(image: Image, what: str) -> ImageError:
    """Returns the error for an ELF whose headers contradict themselves or the file."""
    return ImageError(
        f"{image.name} is not a sound ELF: {what}",
        "build it again; `readelf -lW` shows its segments",
    )


def parse(image: Image, *, dynamic: bool = False) -> Elf:
    """Reads the headers of an ELF executable for x86, of type ET_EXEC, or ET_DYN if `dynamic`.

    Raises `ImageError` for any other image; the error says what the image is. `parse` doesn't
    check the segments; `check_segments` does.
    """
    ident = image.read(0, min(image.size, _HEADER[64].size))
    if not ident.startswith(MAGIC):
        raise ImageError(f"{image.name} is not an ELF", "choose another --protocol, or none")
    image.require(0, _MACHINE + 2)
    bits = _CLASS_BITS.get(ident[_CLASS])
    if bits is None:
        raise inconsistent(image, f"its class is {ident[_CLASS]}")
    if ident[_DATA] not in (_LITTLE_ENDIAN, _BIG_ENDIAN):
        raise inconsistent(image, f"its byte order is {ident[_DATA]}")
    big = ident[_DATA] == _BIG_ENDIAN
    machine = int.from_bytes(ident[_MACHINE : _MACHINE + 2], "big" if big else "little")
    if big or not (machine == _EM_X86_64 or (machine == _EM_386 and bits == 32)):
        known = _MACHINES.get(machine, f"machine {machine}")
        raise ImageError(
            f"{image.name} is a {bits}-bit {'big-endian ' if big else ''}ELF for {known}",
            "build it for x86-64, or for i386 as a 32-bit ELF",
        )
    header = _HEADER[bits]
    image.require(0, header.size)
    kind, _, _, entry, table, _, _, _, entry_size, count, _, _, _ = header.unpack_from(ident)
    if kind != _ET_EXEC and not (kind == _ET_DYN and dynamic):
        raise _not_executable(image, kind)
    segments, notes = _program_headers(image, bits, table, entry_size, count)
    return Elf(bits, entry, segments, notes, is_dynamic=kind == _ET_DYN)


def _not_executable(image: Image, kind: int) -> ImageError:
    if kind == _ET_REL:
        return ImageError(f"{image.name} is an object file, not linked yet", "link it with ld")
    if kind == _ET_DYN:
        return position_independent(image)
    if kind == _ET_CORE:
        return ImageError(f"{image.name} is a core dump", "name the kernel that left it")
    return inconsistent(image, f"its type is {kind}")


def position_independent(image: Image) -> ImageError:
    """Returns the error for an ELF that isn't linked to fixed addresses."""
    return ImageError(
        f"{image.name} is a shared object or a position-independent executable",
        "link it to fixed addresses: -static -no-pie",
    )


def _program_headers(
    image: Image, bits: int, table: int, entry_size: int, count: int
) -> tuple[list[ProgramHeader], list[ProgramHeader]]:
    program_header = _PROGRAM_HEADER[bits]
    if count == 0:
        raise inconsistent(image, "it has no program headers")
    if entry_size != program_header.size:
        raise inconsistent(image, f"a program header has {entry_size} bytes")
    if count > _MAX_PROGRAM_HEADERS:  # also PN_XNUM, 0xffff: another field holds the number then
        raise inconsistent(
            image, f"it has {count} program headers, more than {_MAX_PROGRAM_HEADERS}"
        )
    segments, notes = [], []
    for fields in program_header.iter_unpack(image.read(table, count * entry_size)):
        if bits == 32:
            kind, offset, virtual, address, file_size, memory_size, flags, align = fields
        else:
            kind, flags, offset, virtual, address, file_size, memory_size, align = fields
        header = ProgramHeader(offset, address, file_size, memory_size, align, virtual, flags)
        if kind == _PT_LOAD and memory_size:
            segments.append(header)
        elif kind == _PT_NOTE:
            notes.append(header)
    segments.sort(key=lambda segment: segment.address)
    return segments, notes


def notes(image: Image, elf: Elf) -> Iterator[Note]:
    """Yields each note of the PT_NOTE segments.

    Raises `ImageError` for a note that reaches beyond its segment, and for too many bytes of notes.
    """
    if sum([segment.file_size for segment in elf.notes]) > _MAX_NOTES:
        raise inconsistent(image, f"it has more than {_MAX_NOTES} bytes of notes")
    for segment in elf.notes:
        data = image.read(segment.offset, segment.file_size)
        # Notes are padded to 4 bytes in both classes. GNU ld pads some notes to 8 bytes, and then
        # sets p_align to 8.
        align = 8 if segment.align == 8 else 4
        start = 0
        while start + _NOTE.size <= len(data):
            name_size, size, kind = _NOTE.unpack_from(data, start)
            name = start + _NOTE.size
            descriptor = _round_up(name + name_size, align)
            end = descriptor + size
            if end > len(data):
                raise inconsistent(image, f"the note at {segment.offset + start:#x} is cut short")
            yield data[name : name + name_size], kind, data[descriptor:end]
            start = _round_up(end, align)


def is_linux(elf: Elf, notes: Sequence[Note]) -> bool:
    """Returns whether the notes show that the ELF is a vmlinux for x86-64."""
    return elf.bits == 64 and any(name == _LINUX_NOTE for name, _, _ in notes)


def _round_up(value: int, align: int) -> int:
    return (value + align - 1) & -align


def check_segments(image: Image, elf: Elf, memory: GuestMemory, entry: int) -> None:
    """Checks all segments, and checks that one of them holds the physical address `entry`.

    Raises `ImageError` for a wrong segment, and `ConfigError` if the guest needs more memory.
    """
    if not elf.segments:
        raise inconsistent(image, "it has no segment to load")
    before = None
    for segment in elf.segments:
        if segment.file_size > segment.memory_size:
            raise inconsistent(
                image,
                f"the segment at {segment.address:#x} has {segment.file_size:#x} bytes in the "
                f"file for {segment.memory_size:#x} in memory",
            )
        if segment.file_size:  # a segment of bss alone may point anywhere
            image.require(segment.offset, segment.file_size)
        if before and before.end > segment.address:
            raise inconsistent(
                image, f"the segments at {before.address:#x} and {segment.address:#x} overlap"
            )
        before = segment
        if segment.end > layout.MMIO_HOLE and not _in_memory(memory, segment):
            raise ImageError(
                f"{image.name}: its segment at {segment.address:#x}, "
                f"{segment.memory_size:#x} bytes, is outside the guest's memory",
                f"link it to physical addresses below {layout.MMIO_HOLE:#x}",
            )
    low = (segment.end for segment in elf.segments if segment.end <= layout.MMIO_HOLE)
    require_memory(image, memory, max([layout.BOOT_DATA_END, *low]))
    if not any(segment.address <= entry < segment.end for segment in elf.segments):
        raise inconsistent(image, f"its entry point {entry:#x} is in no segment")


def _in_memory(memory: GuestMemory, segment: ProgramHeader) -> bool:
    return any(
        region.address <= segment.address and segment.end <= region.address + region.size
        for region in memory.regions
    )


def load_segments(image: Image, elf: Elf, memory: GuestMemory) -> None:
    """Reads the segments into guest memory; `check_segments` has checked them before.

    `memory` is fresh, so all bytes from 1 MiB on are zero. `load_segments` doesn't write zeros for
    bss there, so that the host needn't allocate these pages. Below 1 MiB, the memory may already
    hold ACPI tables, so `load_segments` writes the zeros.
    """
    for segment in elf.segments:
        bss = segment.address + segment.file_size
        low = min(segment.end, layout.HIGH_MEMORY) - bss
        if low > 0:
            memory.write(bss, bytes(low))
        if segment.file_size:
            image.load(memory, segment.offset, segment.address, segment.file_size)
