"""Finds out what an image is, and what ringlet would make of it, without running it.

Everything is bounded, since an image may be hostile: the first segments and notes stand for all of
them, and all text is printable.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import msgspec

from ringlet.board.layout import MIB, MMIO_HOLE
from ringlet.boot import elf, open_image
from ringlet.boot.detect import Looks, detect, parse_as
from ringlet.boot.linux import BzImageKernel
from ringlet.errors import ImageError, RingletError
from ringlet.host.printable import printable
from ringlet.observe.inspection.dry_load import DryMemory, least_memory, load
from ringlet.observe.inspection.elf_notes import NoteFacts, note_facts
from ringlet.observe.inspection.entry_code import EntryFacts, entry_facts
from ringlet.observe.inspection.kernel_config import configuration
from ringlet.observe.inspection.linux_image import (
    LinuxFacts,
    header_facts,
    header_version,
    version_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot import Kernel

SHOWN = 32  # segments, and notes
_MAGIC = 16  # bytes
_EXECUTE, _WRITE, _READ = 1, 2, 4  # p_flags
_LARGEST = 512 << 20  # bytes: a bzImage that needs more to start isn't decompressed


class LookFacts(msgspec.Struct, frozen=True):
    """One look at an image: for which protocol or format, what for, and whether it is there."""

    protocol: str
    sign: str
    has: bool


class Segment(msgspec.Struct, frozen=True):
    """What lies where: in the file, and at a physical address.

    `rights` are those that an ELF states, such as `r-x`; None for a file that is no ELF.
    """

    offset: int
    address: int
    file_size: int
    memory_size: int
    rights: str | None


class Memory(msgspec.Struct, frozen=True):
    """Bytes of RAM: the fewest that the kernel can be loaded into, and those that it usually gets.

    An initrd or modules need more.
    """

    least: int
    usual: int


class ImageFacts(msgspec.Struct):
    """All that is known of an image.

    name, size, magic   the file, its bytes, and its first 16 bytes as hexadecimal text
    looks               what ringlet looked for, in order; nothing if the protocol was given
    protocol, why       the boot protocol, and what decided; None if no protocol accepts the image
    error, hint         why the image can't be booted, and what to do; None if it can
    entry, segments, notes, memory   what `ringlet boot` would load; of a bzImage that the host can
                        decompress, the kernel in it
    segment_count, note_count        how many there are; the lists have the first 32
    note_error          why the notes can't be read
    linux               for a Linux kernel
    """

    name: str
    size: int
    magic: str
    looks: list[LookFacts] = []
    protocol: str | None = None
    why: str | None = None
    error: str | None = None
    hint: str | None = None
    entry: EntryFacts | None = None
    segments: list[Segment] = []
    segment_count: int = 0
    notes: list[NoteFacts] = []
    note_count: int = 0
    note_error: str | None = None
    memory: Memory | None = None
    linux: LinuxFacts | None = None


def examine(
    source: str | bytes | os.PathLike[str], protocol: str | None = None
) -> tuple[ImageFacts, bytes]:
    """Returns what is known of an image, and the text of its kernel configuration, or nothing.

    `source` and `protocol` are those of `open_kernel`. An image that can't be booted has an `error`
    among its facts. Raises `ImageError` for a file that can't be opened or read, and `ConfigError`
    for an unknown protocol.
    """
    with ExitStack() as stack:
        image = stack.enter_context(open_image(source))
        magic = image.read(0, min(image.size, _MAGIC)).hex(" ")
        facts = ImageFacts(printable(image.name, 1000), image.size, magic)
        looks = Looks()
        text = b""
        try:
            kernel = detect(image, looks) if protocol is None else parse_as(image, protocol)
        except ImageError as error:
            _refuse(facts, error)
        else:
            facts.protocol = kernel.protocol
            facts.why = f"it has {looks[-1].sign}" if looks else f"--protocol {protocol} is given"
            path = "" if isinstance(source, bytes) else os.fspath(source)
            try:
                text = _look_inside(stack, facts, kernel, path)
            except RingletError as error:
                _refuse(facts, error)
        facts.looks = [LookFacts(*look) for look in looks]
        return facts, text


def _refuse(facts: ImageFacts, error: RingletError) -> None:
    facts.error, facts.hint = printable(error.message, 1000), printable(error.hint, 1000)


def _look_inside(stack: ExitStack, facts: ImageFacts, kernel: Kernel, path: str) -> bytes:
    """Adds what the image of a known protocol holds, and returns the kernel configuration.

    Raises `RingletError` for a kernel that can't be loaded; `facts` then has all but the entry.
    """
    booted = kernel  # what `ringlet boot` enters
    version, header = "", None
    if isinstance(kernel, BzImageKernel):
        failed = None
        try:
            booted = stack.enter_context(_payload(kernel))
        except RingletError as error:
            failed = printable(error.message)
        version = header_version(kernel.image)
        header = header_facts(kernel.image, kernel.header, failed)
    text = b""
    if kernel.is_linux:
        version = version or version_of(booted)
        vmlinux = booted if header is None or booted is not kernel else None
        config, text = configuration(vmlinux, path, version.partition(" ")[0])
        facts.linux = LinuxFacts(version, header, config)
    segments = booted.executable.segments
    facts.segments = [_segment(segment) for segment in segments[:SHOWN]]
    facts.segment_count = len(segments)
    _add_notes(facts, booted)
    facts.memory = Memory(least_memory(kernel), kernel.usual_memory)
    entry = load(booted, max(facts.memory.least, facts.memory.usual))
    facts.entry = entry_facts(booted, entry)
    return text


def _payload(kernel: BzImageKernel) -> Kernel:
    """Returns the kernel in a bzImage. Raises `RingletError` if the guest has to decompress it."""
    if kernel.header.init_size > _LARGEST:
        raise ImageError(
            f"it needs more than {_LARGEST // MIB} MiB to start", "let the guest decompress it"
        )
    with DryMemory.of(MMIO_HOLE) as memory:
        return kernel.decompressed(memory)


def _segment(segment: elf.ProgramHeader) -> Segment:
    rights = None
    if segment.flags is not None:
        bits = zip("rwx", (_READ, _WRITE, _EXECUTE), strict=True)
        rights = "".join(letter if segment.flags & bit else "-" for letter, bit in bits)
    return Segment(segment.offset, segment.address, segment.file_size, segment.memory_size, rights)


def _add_notes(facts: ImageFacts, kernel: Kernel) -> None:
    try:
        for note in elf.notes(kernel.image, kernel.executable):
            facts.note_count += 1
            if facts.note_count <= SHOWN:
                facts.notes.append(note_facts(note))
    except ImageError as error:
        facts.note_error = printable(error.message)
