"""Linux by its own boot protocol, entered in 64-bit mode: a bzImage, or a vmlinux.

Source: Linux, Documentation/arch/x86/boot.rst ("64-bit Boot Protocol"); for a vmlinux, of which
that doesn't speak, arch/x86/kernel/head_64.S (startup_64): the same, at the ELF's entry point.

A bzImage decompresses itself in the guest, or ringlet does it on the host and enters the
vmlinux in it. The kernel then lies where it was linked to: it is its own decompressor that
would move it to a random address (KASLR).
"""

from collections.abc import Sequence
from contextlib import nullcontext

from ringlet.board.layout import HIGH_MEMORY, MMIO_HOLE, ZERO_PAGE
from ringlet.boot import bzimage, elf, elf64, long_mode, payload_cache
from ringlet.boot.bzimage import BzImage
from ringlet.boot.command_lines import command_line_addresses
from ringlet.boot.entry import Entry
from ringlet.boot.image import Image, require_memory
from ringlet.boot.modules import module_addresses
from ringlet.boot.zero_page import setup_header, write_zero_page
from ringlet.errors import ConfigError, ImageError
from ringlet.kvm.memory import GuestMemory
from ringlet.kvm.registers import Registers

_CODE = 0x10  # __BOOT_CS; __BOOT_DS is the next one

# For who says nothing else: a log to see, and an end after a panic.
_DEFAULTS = (b"console=ttyS0", b"panic=-1")

# What a vmlinux doesn't say about itself: COMMAND_LINE_SIZE of asm/setup.h, less the NUL.
_COMMAND_LINE_SIZE = 2047


def command_line(given: bytes) -> bytes:
    """`given`, behind a default for each parameter that it doesn't name."""
    words = given.split()
    if b"--" in words:  # what follows is for init
        del words[words.index(b"--") :]
    named = {word.partition(b"=")[0] for word in words}
    line = [default for default in _DEFAULTS if default.partition(b"=")[0] not in named]
    if given:
        line.append(given)
    return b" ".join(line)


def load(
    image: Image,
    memory: GuestMemory,
    line: bytes,
    modules: Sequence[tuple[Image, bytes]],
    *,
    decompress: bool | None = None,
) -> Entry:
    """Load the kernel and its initrd; `line` gets the defaults of `command_line`.

    `decompress` says whether the host decompresses a bzImage, True, or the guest, False. None is
    the host if it can: the first time that takes about as long as in the guest, and from then on
    next to nothing. Raises `ImageError`, or `ConfigError` for what doesn't fit.
    """
    line = command_line(line)
    memory.prefer_huge_pages()
    if image.read(0, min(image.size, len(elf.MAGIC))) == elf.MAGIC:
        return _load_vmlinux(image, memory, line, modules)
    return _load_bzimage(image, memory, line, modules, decompress)


def _load_vmlinux(
    image: Image, memory: GuestMemory, line: bytes, modules: Sequence[tuple[Image, bytes]]
) -> Entry:
    executable = _executable(image, memory)
    _check_command_line(line, _COMMAND_LINE_SIZE)
    kernel = [(segment.address, segment.end) for segment in executable.segments]
    initrd = _load_initrd(memory, modules, kernel, MMIO_HOLE)
    write_zero_page(memory, setup_header(), line, initrd)
    return _enter_vmlinux(image, memory)


def _load_bzimage(
    image: Image,
    memory: GuestMemory,
    line: bytes,
    modules: Sequence[tuple[Image, bytes]],
    decompress: bool | None,
) -> Entry:
    bz = bzimage.parse(image)
    require_memory(image, memory, bz.end)
    _check_command_line(line, bz.command_line_size)
    vmlinux = None
    if decompress is not False:
        try:
            vmlinux = _decompressed(image, bz, memory)
        except ImageError:
            if decompress:
                raise
    with vmlinux or nullcontext():
        initrd = _load_initrd(memory, modules, [(bz.load_address, bz.end)], bz.initrd_limit)
        write_zero_page(memory, bz.setup_header, line, initrd)
        if vmlinux:
            return _enter_vmlinux(vmlinux, memory)
    image.load(memory, bz.offset, bz.load_address, bz.size)
    return _enter(memory, bz.entry)


def _decompressed(image: Image, bz: BzImage, memory: GuestMemory) -> Image:
    """The vmlinux in it, already judged. Raises `ImageError` alone, to let the guest try."""

    def judge(vmlinux: Image) -> None:
        for segment in elf.parse(vmlinux).segments:
            if not bz.load_address <= segment.address <= segment.end <= bz.end:
                raise elf.inconsistent(
                    vmlinux, f"a segment of it lies at {segment.address:#x} to {segment.end:#x}"
                )
        _executable(vmlinux, memory)

    return payload_cache.open_vmlinux(image, bz, judge)


def _executable(image: Image, memory: GuestMemory) -> elf.Elf:
    executable = elf64.executable(image, memory)
    first = executable.segments[0]
    if first.address < HIGH_MEMORY:  # where the boot data and the ACPI tables are
        raise elf.inconsistent(image, f"a segment of it lies at {first.address:#x}")
    return executable


def _check_command_line(line: bytes, size: int) -> None:
    command_line_addresses([line])
    if len(line) > size:
        raise ConfigError(
            f"the command line has {len(line)} bytes, the kernel takes {size}", "shorten it"
        )


def _load_initrd(
    memory: GuestMemory,
    modules: Sequence[tuple[Image, bytes]],
    kernel: Sequence[tuple[int, int]],
    limit: int,
) -> tuple[int, int]:
    """Its address, below `limit` and around the `kernel`, and its size; both 0 for none."""
    if not modules:
        return 0, 0
    if len(modules) > 1 or modules[0][1]:
        raise ConfigError(
            "Linux takes one module, its initrd, without a command line of its own",
            "put all files into one initrd: cpio archives may be joined with cat",
        )
    image, _ = modules[0]
    (address,) = module_addresses(memory, kernel, [image], limit=limit)
    image.load(memory, 0, address, image.size)
    return address, image.size


def _enter_vmlinux(image: Image, memory: GuestMemory) -> Entry:
    executable = elf.parse(image)
    elf.load_segments(image, executable, memory)
    return _enter(memory, executable.entry)


def _enter(memory: GuestMemory, entry: int) -> Entry:
    special = long_mode.prepare(memory, _CODE)
    return Entry(Registers(rsi=ZERO_PAGE, rip=entry), special)
