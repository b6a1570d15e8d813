"""Linux by its own boot protocol: a bzImage or a vmlinux, in 64-bit mode if possible.

Source: Linux, Documentation/arch/x86/boot.rst ("32-bit Boot Protocol", "64-bit Boot Protocol").
That document doesn't cover a vmlinux. For a vmlinux, see arch/x86/kernel/head_64.S (startup_64):
the state at the ELF's entry point is the same as for the 64-bit boot protocol.

A bzImage decompresses itself in the guest, or ringlet decompresses the bzImage on the host and
enters the vmlinux in it. In the second case the kernel lies at the address that it is linked to:
only the kernel's own decompressor can move the kernel to a random address (KASLR).
"""

from __future__ import annotations

from contextlib import nullcontext

from ringlet.board.layout import HIGH_MEMORY, MIB, MMIO_HOLE, ZERO_PAGE
from ringlet.boot import bzimage, elf, elf64, long_mode, payload_cache, protected_mode
from ringlet.boot.command_lines import command_line_addresses
from ringlet.boot.entry import Entry
from ringlet.boot.image import require_memory
from ringlet.boot.kernel import Kernel
from ringlet.boot.modules import module_addresses
from ringlet.boot.zero_page import setup_header, write_zero_page
from ringlet.errors import ConfigError, ImageError
from ringlet.kvm.registers import Registers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.boot.image import Image
    from ringlet.boot.kernel import Given
    from ringlet.kvm.memory import GuestMemory

_CODE = 0x10  # __BOOT_CS; __BOOT_DS is the next selector

# If the command line doesn't say otherwise, the log is shown, and a panic ends the run.
_DEFAULTS = (b"console=ttyS0", b"panic=-1")

# COMMAND_LINE_SIZE of asm/setup.h, less the NUL; a vmlinux doesn't state its own limit.
_COMMAND_LINE_SIZE = 2047


def command_line(given: bytes) -> bytes:
    """Returns the defaults for the parameters that `given` doesn't name, followed by `given`."""
    words = given.split()
    if b"--" in words:  # the words after "--" are for init
        del words[words.index(b"--") :]
    named = {word.partition(b"=")[0] for word in words}
    line = [default for default in _DEFAULTS if default.partition(b"=")[0] not in named]
    if given:
        line.append(given)
    return b" ".join(line)


class LinuxKernel(Kernel):
    """A Linux kernel of either kind; `command_line` adds defaults to its command line."""

    protocol = "linux"
    is_linux = True
    expects_pit = True
    usual_memory = 256 * MIB
    device_words = False  # Linux finds its devices by ACPI


class VmlinuxKernel(LinuxKernel):
    """A vmlinux, the kernel's own ELF."""

    def __init__(self, image: Image, executable: elf.Elf) -> None:
        super().__init__(image)
        elf64.check(image, executable)
        if executable.segments and executable.segments[0].address < HIGH_MEMORY:
            # The boot data and the ACPI tables are there.
            first = executable.segments[0].address
            raise elf.inconsistent(image, f"a segment of it lies at {first:#x}")
        self.executable = executable

    def check_segments(self, memory: GuestMemory) -> None:
        """Raises `ImageError` for a wrong segment, `ConfigError` if more memory is needed."""
        elf.check_segments(self.image, self.executable, memory, self.executable.entry)

    def enter(self, memory: GuestMemory) -> Entry:
        """Loads the segments, which are already checked, and returns the entry state."""
        elf.load_segments(self.image, self.executable, memory)
        return _enter(memory, self.executable.entry)

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        memory.prefer_huge_pages()
        self.check_segments(memory)
        line = command_line(given.command_line)
        _check_command_line(line, _COMMAND_LINE_SIZE)
        initrd = _load_initrd(memory, given.modules, self.executable.places, MMIO_HOLE)
        write_zero_page(memory, setup_header(), line, initrd)
        return self.enter(memory)

    def lies_within(self, first: int, end: int) -> None:
        """Raises `ImageError` unless all segments lie in this range."""
        for segment in self.executable.segments:
            if not first <= segment.address <= segment.end <= end:
                raise elf.inconsistent(
                    self.image,
                    f"a segment of it lies at {segment.address:#x} to {segment.end:#x}",
                )


class BzImageKernel(LinuxKernel):
    """A bzImage, which either the host or the guest decompresses.

    The first time, the host takes about as long as the guest. After that, the host takes the
    decompressed kernel from a cache, which takes almost no time.
    """

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        self.header = bz = bzimage.parse(image)
        code = elf.ProgramHeader(bz.offset, bz.load_address, bz.size, bz.init_size, 1)
        self.executable = elf.Elf(bz.bits, bz.entry, [code], [])

    def _load(self, memory: GuestMemory, given: Given) -> Entry:
        image, bz = self.image, self.header
        memory.prefer_huge_pages()
        require_memory(image, memory, bz.end)
        line = command_line(given.command_line)
        _check_command_line(line, bz.command_line_size)
        vmlinux = None
        if given.decompress is not False:
            try:
                vmlinux = self.decompressed(memory)
            except ImageError:
                if given.decompress:
                    raise
        with vmlinux or nullcontext():
            places = [(bz.load_address, bz.end)]
            initrd = _load_initrd(memory, given.modules, places, bz.initrd_limit)
            write_zero_page(memory, bz.setup_header, line, initrd)
            if vmlinux:
                return vmlinux.enter(memory)
        image.load(memory, bz.offset, bz.load_address, bz.size)
        return _enter(memory, bz.entry, bz.bits)

    def decompressed(self, memory: GuestMemory) -> VmlinuxKernel:
        """Returns the checked vmlinux in the bzImage.

        Raises `ImageError` if the host can't use it; then the guest may decompress the bzImage.
        """
        bz = self.header
        if bz.bits != 64:
            raise ImageError(
                f"{self.name} is a kernel for 32 bits, which decompresses itself",
                "let the guest decompress it",
            )

        def judge(image: Image) -> None:
            vmlinux = VmlinuxKernel(image, elf.parse(image))
            vmlinux.lies_within(bz.load_address, bz.end)
            vmlinux.check_segments(memory)

        payload = payload_cache.open_vmlinux(self.image, bz, judge)
        return VmlinuxKernel(payload, elf.parse(payload))


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
    """Loads the initrd below `limit` and outside `kernel`; returns its address and its size.

    Both are 0 if there is no initrd.
    """
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


def _enter(memory: GuestMemory, entry: int, bits: int = 64) -> Entry:
    mode = long_mode if bits == 64 else protected_mode
    special = mode.prepare(memory, _CODE)
    return Entry(Registers(rsi=ZERO_PAGE, rip=entry), special)
