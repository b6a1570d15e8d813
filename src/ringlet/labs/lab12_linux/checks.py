"""The checks of lab 12: small kernels in Linux's image format, and then Linux itself.

What the loader has done is looked at from outside, in the memory of the student's process, while a
kernel of the grader's runs. What the devices do is seen by what a kernel computes from it. Linux
runs an init that nobody has seen before.

Source: Linux, Documentation/arch/x86/boot.rst (the 32-bit boot protocol), zero-page.rst.
"""

from __future__ import annotations

import secrets
import struct
from contextlib import contextmanager
from typing import NamedTuple

from ringlet.emulated.installed_kernel import cache, find_kernel, kernels_under
from ringlet.labs import process
from ringlet.labs.check import HARDWARE_KVM, Check, Failed
from ringlet.labs.lab12_linux import guests
from ringlet.labs.lab12_linux.guests import Init, Kernel32
from ringlet.labs.program import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringlet.labs.program import End, Program
    from ringlet.labs.work import Work

MEMORY = 128 << 20
SEE_ITS_END = "make tiny shows why your program ends"
LINUX_LINE = "console=ttyS0 quiet reboot=t panic=-1"
# Linux has the larger of 60 seconds and 12 patiences; but the grader waits no longer than 180
# seconds for a word from its emulated machine.
_LINUX_LEAST, _PATIENCES, _LINUX_MOST = 60.0, 12, 150.0
_INIT_SIZE = 24 << 20  # what the small kernels say that they need from 1 MiB on
_LOW_RAM_END, _HIGH_RAM = 0xA0000, 1 << 20
_CHUNK = 1 << 20

# The fields of the setup header that a loader writes: (first offset, end).
_OF_THE_LOADER = ((0x1FA, 0x1FC), (0x210, 0x212), (0x218, 0x220), (0x224, 0x22C))
_SENTINEL, _E820_ENTRIES, _E820, _E820_MOST = 0x1EF, 0x1E8, 0x2D0, 128
_RAM = 1
_CR0_PE, _CR0_PG = 1, 1 << 31


@contextmanager
def _vmm(
    work: Work, kernel: bytes, initrd: bytes, line: str, seconds: float | None = None
) -> Iterator[Program]:
    command = (PYTHON, "vmm.py", "grader.kernel", "grader.initrd", line)
    files = {"grader.kernel": kernel, "grader.initrd": initrd}
    with work.program(*command, files=files, kvm=True, seconds=seconds) as program:
        program.end_input()
        yield program


class _Loaded(NamedTuple):
    """What a loader has left: the registers of the entry, and the guest's memory below.

    memory     from address 0 on, with the zero page and the command line if they are there
    kernel     the image
    initrd     the bytes where the zero page says that the initramfs is
    """

    registers: dict[str, int]
    memory: bytes
    kernel: bytes
    line: bytes
    initrd: bytes
    found: bytes

    @property
    def zero_page(self) -> bytes:
        """The zero page, where ESI says. Raises `Failed` if it is elsewhere."""
        at = self.registers["esi"]
        if not 0 < at <= len(self.memory) - 4096:
            raise Failed(f"ESI is {at:#x}; the zero page has to be in the first 640 KiB of memory")
        return self.memory[at : at + 4096]

    def field(self, offset: int) -> int:
        """Returns a 32-bit field of the zero page."""
        number: int = struct.unpack_from("<I", self.zero_page, offset)[0]
        return number


def _load(work: Work) -> _Loaded:
    """Runs the kernel that counts, and returns what its loader has left in memory."""
    tag = secrets.token_bytes(guests.TAG_SIZE)
    kernel = guests.record_kernel(tag, _INIT_SIZE)
    initrd = secrets.token_bytes(5000 + secrets.randbelow(50_000))
    line = f"console=ttyS0 word={secrets.token_hex(20 + secrets.randbelow(200))}"
    with _vmm(work, kernel, initrd, line) as program:
        place = _find_counter(program, tag)
        base = place - guests.KERNEL - guests.RECORD
        record = process.read_memory(program.pid, place, 0x80)
        names = guests.ENTRY_REGISTERS
        values = struct.unpack_from(f"<{len(names)}I", record, guests.ENTRY - guests.RECORD)
        registers = dict(zip(names, values, strict=True))
        memory = process.read_memory(program.pid, base, _LOW_RAM_END)
        loaded = _Loaded(registers, memory, kernel, line.encode(), initrd, b"")
        at, size = loaded.field(0x218), loaded.field(0x21C)
        found = b""
        if at + len(initrd) <= MEMORY and size <= len(initrd):
            found = process.read_memory(program.pid, base + at, size)
        return loaded._replace(found=found)


def _find_counter(program: Program, tag: bytes) -> int:
    """Returns the address of the tag beside which a counter goes up, in the student's process."""
    places: dict[int, set[bytes]] = {}

    def is_counting() -> bool:
        if process.VCPU not in process.descriptors(program.pid):
            return False
        if not places:
            places.update((place, set()) for place in _find(program.pid, tag))
        for place, seen in places.items():
            seen.add(process.read_memory(program.pid, place + guests.TAG_SIZE, 4))
        return any(len(seen) > 2 for seen in places.values())

    if not program.wait_until(is_counting):
        if program.has_ended:
            seen = f"the program ended before its guest: {program.finish().complaint}"
            raise Failed(seen, SEE_ITS_END)
        raise Failed(
            "the counter in the guest's memory stands still"
            if places
            else f"the kernel isn't in a mapping of {MEMORY >> 20} MiB or more"
        )
    return next(place for place, seen in places.items() if len(seen) > 2)


def _find(pid: int, tag: bytes) -> Iterator[int]:
    """Yields the addresses of `tag`, which lies in one page, in the guest's memory."""
    for mapping in process.mappings(pid):
        if mapping.writable and MEMORY <= mapping.end - mapping.start <= 2 * MEMORY:
            for start in range(mapping.start, mapping.end, _CHUNK):
                data = process.read_memory(pid, start, min(_CHUNK, mapping.end - start))
                at = data.find(tag)
                while at >= 0:
                    yield start + at
                    at = data.find(tag, at + 1)


def enters_the_kernel(work: Work) -> str:
    """The kernel is at 1 MiB, and runs with the registers of the 32-bit boot protocol."""
    registers = work.once(_load, work).registers
    expected = {"ebx": 0, "ebp": 0, "edi": 0, "cs": 0x10, "ds": 0x18, "es": 0x18, "ss": 0x18}
    wrong = [
        f"{name} is {registers[name]:#x}, not {value:#x}"
        for name, value in expected.items()
        if registers[name] != value
    ]
    if registers["cr0"] & (_CR0_PG | _CR0_PE) != _CR0_PE:
        wrong.append(f"CR0 is {registers['cr0']:#x}")
    if registers["eflags"] & 0x200:
        wrong.append("interrupts are on")
    if wrong:
        raise Failed("; ".join(wrong))
    return f"the kernel runs at {guests.KERNEL:#x}, ESI is {registers['esi']:#x}"


def copies_the_header(work: Work) -> str:
    """The zero page has the setup header of the image, the loader's fields, and zeros around it."""
    loaded = work.once(_load, work)
    zero = loaded.zero_page
    for at in range(guests.HEADER, guests.END_OF_HEADER):
        of_loader = any(first <= at < end for first, end in _OF_THE_LOADER)
        if zero[at] != loaded.kernel[at] and not of_loader:
            raise Failed(
                f"the byte at {at:#x} of the zero page is {zero[at]:#x}, in the image "
                f"{loaded.kernel[at]:#x}"
            )
    if zero[0x210] == 0:
        raise Failed("type_of_loader (0x210) is 0: Linux refuses loaders before 1996")
    if zero[_SENTINEL] or any(zero[guests.END_OF_HEADER : 0x290]):
        raise Failed("there are bytes of the image around the setup header, in place of zeros")
    return f"the setup header is at {loaded.registers['esi'] + guests.HEADER:#x}"


def passes_the_command_line(work: Work) -> str:
    """The command line is in memory, with a zero byte behind it."""
    loaded = work.once(_load, work)
    at = loaded.field(0x228)
    seen = loaded.memory[at : at + len(loaded.line) + 1]
    if seen != loaded.line + b"\0":
        raise Failed(f"cmd_line_ptr (0x228) is {at:#x}, and the command line isn't there")
    return f"the command line of {len(loaded.line)} bytes is at {at:#x}"


def tells_the_memory(work: Work) -> str:
    """The E820 map has the guest's RAM and no more."""
    zero = work.once(_load, work).zero_page
    count = zero[_E820_ENTRIES]
    if not 0 < count <= _E820_MOST:
        raise Failed(f"e820_entries (0x1e8) is {count}")
    entries = [struct.unpack_from("<QQI", zero, _E820 + 20 * number) for number in range(count)]
    ram = sorted((at, at + size) for at, size, kind in entries if kind == _RAM)
    shown = ", ".join(f"{first:#x} to {end:#x}" for first, end in ram)
    if not any(first <= _HIGH_RAM and end == MEMORY for first, end in ram):
        raise Failed(f"RAM is {shown or 'nowhere'}; no range goes from 1 MiB to {MEMORY:#x}")
    if not any(first == 0 and end >= 0x80000 for first, end in ram):
        raise Failed(f"RAM is {shown}; the first 640 KiB aren't in it")
    if any((first < _HIGH_RAM and end > _LOW_RAM_END) or end > MEMORY for first, end in ram):
        raise Failed(f"RAM is {shown}; nothing from 0xa0000 to 0xfffff is RAM on a PC")
    return f"RAM is {shown}"


def loads_the_initramfs(work: Work) -> str:
    """The initramfs is in memory, where it isn't in the kernel's way."""
    loaded = work.once(_load, work)
    at, size = loaded.field(0x218), loaded.field(0x21C)
    if size != len(loaded.initrd):
        raise Failed(f"ramdisk_size (0x21c) is {size}; the file has {len(loaded.initrd)} bytes")
    if loaded.found != loaded.initrd:
        raise Failed(f"ramdisk_image (0x218) is {at:#x}, and the initramfs isn't there")
    if at % 4096:
        raise Failed(f"ramdisk_image is {at:#x}, in the middle of a page")
    if at < guests.KERNEL + _INIT_SIZE:
        raise Failed(
            f"ramdisk_image is {at:#x}; the kernel uses {guests.KERNEL:#x} to "
            f"{guests.KERNEL + _INIT_SIZE:#x} (init_size, 0x260)"
        )
    return f"{size} bytes are at {at:#x}"


def _run(work: Work, kernel: Kernel32) -> End:
    with _vmm(work, kernel.image(), b"", "console=ttyS0") as program:
        end = program.finish()
    if end.output != kernel.expected:
        seen = f"standard output got {_show(end.output)} in place of {_show(kernel.expected)}"
        raise Failed(seen if end.output else f"{seen}: {end.complaint}")
    return end


def _show(data: bytes) -> str:
    most = 12
    shown = data[:most].hex(" ") + (" ..." if len(data) > most else "")
    return f"{len(data)} bytes ({shown})" if data else "nothing"


def prints_and_reads_ports(work: Work) -> str:
    """A kernel's output arrives; ports without a device read as all ones, the clock as zero."""
    kernel = Kernel32()
    kernel.sums(4)
    for size in (1, 2, 4):
        kernel.read_nothing(size)
    kernel.read_clock()
    kernel.sums(2)
    kernel.reset()
    _run(work, kernel)
    return f"standard output got {_show(kernel.expected)}, as the kernel computed"


def has_chips_and_features(work: Work) -> str:
    """A kernel finds the interrupt controller, the timer, and a 64-bit processor in a VM."""
    kernel = Kernel32()
    kernel.use_pic()
    kernel.use_pit()
    kernel.look_at_cpuid()
    kernel.sums(1)
    kernel.reset()
    _run(work, kernel)
    return "8259A, 8254 and CPUID answer a kernel as KVM's do"


def ends_well(work: Work) -> str:
    """A reset ends the program with status 0, another exit with an error."""
    kernel = Kernel32()
    kernel.sums(3)
    kernel.reset()
    end = _run(work, kernel)
    if end.status != 0:
        raise Failed(f"after the guest's reset, the status is {end.status}: {end.complaint}")
    kernel = Kernel32()
    kernel.sums(3)
    kernel.touch_nothing()
    end = _run(work, kernel)
    if end.status == 0:
        raise Failed("after an access to an address without memory, the status is 0")
    return f"a reset ends with status 0, an access to nothing with {end.status}"


class _Linux(NamedTuple):
    """What was seen of a boot of Linux.

    answer   the number that init computes
    init     what is wrong with the run of init; "" if it runs
    output   what the program wrote to standard output
    status   None if the program didn't end by itself
    """

    answer: bytes
    init: str
    output: bytes
    status: int | None
    complaint: str


def _linux_kernel() -> Path:
    """Returns a kernel of this host: the cloud kernel, which starts sooner, or another."""
    folder = cache() / "linux-image-cloud-amd64"
    return next((kernel.vmlinuz for kernel in kernels_under(folder)), None) or find_kernel().vmlinuz


def _boot_linux(work: Work) -> _Linux:
    init = Init()
    kernel = _linux_kernel().read_bytes()
    seconds = min(max(_LINUX_LEAST, _PATIENCES * work.patience), _LINUX_MOST)
    with _vmm(work, kernel, init.initramfs(), LINUX_LINE, seconds) as program:

        def runs_init() -> bool:
            last = process.last_exit(program.pid)
            return last is not None and last.port == init.port and last.reason == process.EXIT_IO

        if program.wait_until(runs_init):
            try:
                place = _find_counter(program, init.tag)
                process.write_memory(program.pid, place + init.FLAG, b"\1")
                wrong = ""
            except Failed as failed:
                wrong = failed.seen
        else:
            wrong = "init never ran"
        try:
            end = program.finish()
        except Failed as failed:
            output = bytes(program.output)
            return _Linux(init.answer, wrong, output, None, failed.seen)
        return _Linux(init.answer, wrong, end.output, end.status, end.complaint)


def runs_init(work: Work) -> str:
    """Linux starts, and its first program changes the guest's memory."""
    linux = work.once(_boot_linux, work)
    if linux.init:
        lines = [line for line in linux.output.splitlines() if line.strip()] or [b"nothing"]
        last = lines[-1].decode(errors="replace")
        raise Failed(f"{linux.init}; {linux.complaint}; the last line of its output: {last}")
    return "a counter in the memory of init, inside the guest, goes up"


def prints_what_init_says(work: Work) -> str:
    """What init computes reaches the console, by Linux's driver for the serial port."""
    linux = work.once(_boot_linux, work)
    if linux.answer not in linux.output:
        raise Failed(f"the {len(linux.output)} bytes of output are without the number of init")
    return "the number that init computes is in the output"


def ends_with_linux(work: Work) -> str:
    """When init resets the machine, the program ends with status 0."""
    linux = work.once(_boot_linux, work)
    if linux.init:
        raise Failed(linux.init)
    if linux.status != 0:
        status = "" if linux.status is None else f", the status is {linux.status}"
        raise Failed(f"after the reset by init{status}: {linux.complaint}")
    return "the program ended with status 0"


CHECKS = (
    Check(
        "the kernel runs at 1 MiB, in 32-bit protected mode",
        1,
        15,
        "a counter of the kernel that goes up; EBX, EBP and EDI 0, CS 0x10, DS, ES and SS 0x18, "
        "CR0.PE 1, no interrupts",
        "the code begins behind the setup sectors: (setup_sects + 1) * 512; CR0.PE is 1, CS is a "
        "32-bit code segment, the others are data segments",
        enters_the_kernel,
    ),
    Check(
        "the zero page has the setup header",
        1,
        10,
        "a copy of the image's bytes from 0x1f1 on, as far as the header goes, and type_of_loader",
        "the header ends at 0x202 plus the byte at 0x201; all else in the zero page is zero",
        copies_the_header,
    ),
    Check(
        "the command line is in memory",
        1,
        5,
        "the text and a zero byte, where cmd_line_ptr says, below 640 KiB",
        "cmd_line_ptr is at 0x228 of the zero page, 32 bits",
        passes_the_command_line,
    ),
    Check(
        "the memory map has the RAM",
        1,
        5,
        "ranges of type 1 for the first 640 KiB, and for 1 MiB to 128 MiB",
        "e820_entries is at 0x1e8 (one byte), the entries of 20 bytes are at 0x2d0; an entry has "
        "the range's address and its size, not its end",
        tells_the_memory,
    ),
    Check(
        "the initramfs is in memory",
        1,
        10,
        "the whole file, at the beginning of a page, behind what the kernel needs",
        "put it at the end of memory; ramdisk_image is at 0x218, ramdisk_size at 0x21c",
        loads_the_initramfs,
    ),
    Check(
        "output by the serial port, and ports without a device",
        2,
        10,
        "the bytes that a kernel of random numbers computes, also from reads of empty ports",
        "LSR (0x3fd) reads as 0x60; a port without a device reads as 0xff in each of `size` "
        "bytes; 0x71 reads as 0; write the bytes by os.write, not as text",
        prints_and_reads_ports,
    ),
    Check(
        "interrupt controllers, timer and CPUID",
        2,
        10,
        "a kernel that reads back what it wrote to ports 0x21 and 0x61, and finds its features",
        "KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2 before the vCPU, with flag 1 for port 0x61; "
        "KVM_SET_CPUID2 before the first KVM_RUN, with bit 31 of ECX of leaf 1",
        has_chips_and_features,
    ),
    Check(
        "a reset ends the program with status 0, an unknown exit with an error",
        2,
        5,
        "status 0 after KVM_EXIT_SHUTDOWN, another status after KVM_EXIT_MMIO",
        "EXIT_SHUTDOWN: leave the loop; any other exit but I/O: sys.exit with a text",
        ends_well,
    ),
    Check(
        "Linux runs init",
        3,
        20,
        "a counter in the memory of Linux's first program that goes up",
        "make linux, or make linux-nested: the last line says how far Linux comes",
        runs_init,
        HARDWARE_KVM,
    ),
    Check(
        "the console shows what init says",
        3,
        5,
        "a number that init computes, in the output",
        "Linux's driver looks at LSR before each byte, and writes to THR, 0x3f8",
        prints_what_init_says,
        HARDWARE_KVM,
    ),
    Check(
        "the reset by init ends the program with status 0",
        3,
        5,
        "status 0, after init has run",
        "with reboot=t, Linux resets by a triple fault: KVM_EXIT_SHUTDOWN; end with status 0",
        ends_with_linux,
        HARDWARE_KVM,
    ),
)
