"""The checks of lab 11: one run of the mended kernel, on a machine that shows each of the faults.

The machine has a serial port that is busy for some time after each byte, as the chip is, and a
memory size and a command line that nobody has seen before.

Source: Intel SDM volume 3, 4.5 (4-level paging), 6.14 (exceptions in 64-bit mode); National
Semiconductor PC16550D data sheet, section 8 (LSR).
"""

from __future__ import annotations

import random
import secrets
from functools import partial
from typing import NamedTuple

from ringlet.board.layout import COM1_PORT, UART_PORTS
from ringlet.errors import RingletError
from ringlet.kvm.vcpu import KEY_SIZE_SHIFT, KEY_WRITE
from ringlet.labs.check import Check, Failed
from ringlet.labs.guest import Snapshot, boot
from ringlet.observe.debug.paging import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.labs.guest import Run
    from ringlet.labs.work import Work
    from ringlet.machine.machine import Machine

MAX_IMAGE = 1 << 20
BUILD = (
    "sh",
    "-c",
    "gcc -c -Wa,-mx86-used-note=no boot.S -o /tmp/boot.o >&2 && "
    "gcc -c -Og -std=gnu11 -ffreestanding -mcmodel=kernel -mno-red-zone -mgeneral-regs-only "
    "-fno-stack-protector -fno-pic -fcf-protection=none -fno-asynchronous-unwind-tables "
    "kernel.c -o /tmp/kernel.o >&2 && "
    "gcc -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 -T kernel.ld "
    "/tmp/boot.o /tmp/kernel.o -o /tmp/kernel.elf >&2 && cat /tmp/kernel.elf",
)
BEFORE, AFTER = 1, 2  # the checkpoints: before the heap is touched, and after all of it
KERNEL_BASE = 0xFFFF_FFFF_8000_0000
HEAP = 0xFFFF_FFFF_C000_0000
_PAGE, _LARGE = 4096, 2 << 20
_HEAP_SIZE = 512 * _PAGE
_THR, _LSR, _LSR_EMPTY = 0, 5, 0x60  # THRE and TEMT
_MOST_BUSY = 4  # reads of LSR after a byte
_MAX_TEXT = 4096
_ONES = (1 << 64) - 1


class _SerialPort:
    """A serial port without a FIFO, which is busy for some reads of LSR after each byte.

    first   the vCPU at the first access
    text    the bytes that came while the port was ready
    lost    the number of bytes that came while it was busy
    """

    def __init__(self) -> None:
        self._vcpu: Vcpu | None = None
        self._busy = 0
        self.first: Snapshot | None = None
        self.text = bytearray()
        self.lost = 0

    def put_on(self, machine: Machine) -> None:
        """Puts the port on a machine in place of the machine's own, which is never busy."""
        self._vcpu = machine.vm.vcpus[0]
        for offset in range(UART_PORTS):
            key = COM1_PORT + offset | 1 << KEY_SIZE_SHIFT
            machine.board.ports.handlers[key] = partial(self._read, offset)
            machine.board.ports.handlers[key | KEY_WRITE] = partial(self._write, offset)

    def _read(self, offset: int) -> int:
        self._look()
        if offset != _LSR:
            return 0
        if self._busy:
            self._busy -= 1
            return 0
        return _LSR_EMPTY

    def _write(self, offset: int, value: int) -> None:
        self._look()
        if offset != _THR:
            return
        if self._busy:
            self.lost += 1
        elif len(self.text) < _MAX_TEXT:
            self.text.append(value)
            self._busy = random.randint(1, _MOST_BUSY)

    def _look(self) -> None:
        if self.first is None and self._vcpu is not None:
            self.first = Snapshot(self._vcpu.registers, self._vcpu.special_registers)


class _Run(NamedTuple):
    """What there was to do in a run, and what was seen.

    size       bytes of RAM
    addresses  those of the command line, in its order
    """

    size: int
    addresses: list[int]
    port: _SerialPort
    guest: Run

    def read(self, address: int, size: int) -> bytes:
        """Returns physical memory at the end of the run. Raises `RingletError` if none is there."""
        data = self.guest.memory[address : address + size]
        if len(data) < size:
            raise RingletError(f"no memory is at {address:#x}", "look at the page tables")
        return data

    def first_in_page(self) -> list[int]:
        """Returns the first address in each page, in the order in which the kernel comes there."""
        pages: dict[int, int] = {}
        for address in self.addresses:
            pages.setdefault(address // _PAGE, address)
        return list(pages.values())

    def physical(self, address: int, vcpu: Snapshot) -> int | None:
        """Returns where the tables in memory lead for this address; None if it isn't mapped."""
        return walk(address, vcpu.special, self.read).physical


def _run(work: Work) -> _Run:
    """Returns the one run of the kernel, which all checks share."""
    return work.once(_boot, work.build(*BUILD, most=MAX_IMAGE))


def _boot(image: bytes) -> _Run:
    size = (1280 + secrets.randbelow(2816)) * _PAGE  # 5 to 16 MiB
    addresses = _addresses()
    line = " ".join(f"{address:x}" for address in addresses)
    port = _SerialPort()
    guest = boot(image, size, "pvh", cmdline=line, prepare=port.put_on)
    return _Run(size, addresses, port, guest)


def _addresses() -> list[int]:
    """Returns addresses in five pages of the heap, and a second one in one of these pages."""
    pages = secrets.SystemRandom().sample(range(_HEAP_SIZE // _PAGE), 5)
    pages.append(pages[0])
    offsets = secrets.SystemRandom().sample(range(8, _PAGE, 8), len(pages))
    return [HEAP + page * _PAGE + at for page, at in zip(pages, offsets, strict=True)]


def runs_where_it_is_linked(work: Work) -> str:
    """At its first access to the serial port, the kernel runs at its high addresses."""
    run = _run(work)
    if run.port.first is None:
        raise Failed(f"the kernel never came to the serial port; {run.guest.end}")
    registers = run.port.first.registers
    if registers.rip < KERNEL_BASE:
        raise Failed(f"RIP is {registers.rip:#x} at the first access to the serial port")
    for physical in [registers.rip - KERNEL_BASE, *range(0, run.size, _LARGE)]:
        seen = run.physical(KERNEL_BASE + physical, run.port.first)
        if seen != physical:
            where = "nowhere" if seen is None else f"to {seen:#x}"
            raise Failed(f"the page tables map {KERNEL_BASE + physical:#x} {where}")
    return f"RIP is {registers.rip:#x}, and all memory is at {KERNEL_BASE:#x} and above"


def _require_port(run: _Run) -> None:
    if not run.port.text:
        raise Failed(f"the serial port got no byte; {run.guest.end}")


def waits_for_the_port(work: Work) -> str:
    """No byte is written while the port is busy."""
    run = _run(work)
    _require_port(run)
    if run.port.lost:
        raise Failed(f"{run.port.lost} bytes were written while the port was busy, and are lost")
    return f"each of {len(run.port.text)} bytes was written when the port was ready"


def says_its_command_line(work: Work) -> str:
    """The port gets the whole command line, which is a new one in each run."""
    run = _run(work)
    _require_port(run)
    line = " ".join(f"{address:x}" for address in run.addresses).encode()
    if line not in run.port.text:
        raise Failed(f"{len(run.port.text)} bytes arrived, without the whole command line")
    return f"the command line of {len(line)} bytes arrived"


def returns_from_page_faults(work: Work) -> str:
    """Between the checkpoints a page fault came for each page, and left the stack as it was."""
    run = _run(work)
    before, after = run.guest.at(BEFORE), run.guest.at(AFTER)
    if before.registers.rsp != after.registers.rsp:
        raise Failed(
            f"RSP is {before.registers.rsp:#x} at checkpoint 1, {after.registers.rsp:#x} at 2"
        )
    *_, last = run.first_in_page()
    if after.special.cr2 != last:
        raise Failed(f"CR2 is {after.special.cr2:#x} at checkpoint 2: {last:#x} made no page fault")
    pages = [page for page in range(HEAP, HEAP + _HEAP_SIZE, _PAGE) if run.physical(page, after)]
    touched = sorted(address & ~(_PAGE - 1) for address in run.first_in_page())
    if pages != touched:
        raise Failed(f"{len(pages)} pages of the heap are mapped; {len(touched)} were touched")
    return f"CR2 is {after.special.cr2:#x}, and RSP is as before"


def gives_frames_from_the_end_of_memory(work: Work) -> str:
    """The pages of the heap have the last frames of RAM, in the order of the faults."""
    run = _run(work)
    after = run.guest.at(AFTER)
    touched = run.first_in_page()
    for number, address in enumerate(touched, 1):
        expected = run.size - number * _PAGE
        seen = run.physical(address & ~(_PAGE - 1), after)
        if seen != expected:
            where = "no frame" if seen is None else f"the frame {seen:#x}"
            raise Failed(
                f"page fault {number}: the page has {where}, and not {expected:#x}; RAM ends at "
                f"{run.size:#x}"
            )
    return f"{len(touched)} pages have the last frames below {run.size:#x}"


def keeps_the_numbers(work: Work) -> str:
    """The numbers are in memory, where the page tables say, and then the run ends with 0."""
    run = _run(work)
    after = run.guest.at(AFTER)
    for address in run.addresses:
        physical = run.physical(address, after)
        data = b"" if physical is None else run.guest.memory[physical : physical + 8]
        if int.from_bytes(data, "little") != ~address & _ONES:
            raise Failed(f"the number for {address:#x} isn't in memory; {run.guest.end}")
    if run.guest.status != 0:
        raise Failed(run.guest.end)
    return f"{len(run.addresses)} numbers are in memory, and the status is 0"


CHECKS = (
    Check(
        "fault 1: the kernel runs where it is linked",
        1,
        25,
        "RIP in the upper half at the first access to the serial port, and page tables that map "
        "all memory at 0xffffffff80000000 and above",
        "`make run` says at which address the crash was; in `make debug`, `page` with that address "
        "shows the entry of each table on the way",
        runs_where_it_is_linked,
    ),
    Check(
        "fault 2: each byte waits until the serial port is ready",
        2,
        15,
        "no write to THR while LSR.THRE is 0",
        "`make trace ARGS='--count 20'` shows what the kernel reads from the port; what does each "
        "bit of the value mean?",
        waits_for_the_port,
    ),
    Check(
        "fault 2: the serial port gets the whole command line",
        2,
        10,
        "the command line, a new one for each run, in the bytes that the port took",
        "print writes each byte; the port takes a byte only while it is ready",
        says_its_command_line,
    ),
    Check(
        "fault 3: the page-fault handler returns to where the fault was",
        3,
        20,
        "at checkpoint 2: RSP as at checkpoint 1, CR2 of the last page fault, and as many pages "
        "in the heap as were touched",
        "in `make debug`, go to the last instruction of the handler, and compare `stack 6` with "
        "what that instruction takes from the stack",
        returns_from_page_faults,
    ),
    Check(
        "fault 4: a page gets a frame of memory that is there",
        3,
        20,
        "the last frame of RAM for the first page, and the frame before for each next page",
        "`make trace ARGS='--kind mmio'` shows writes that no memory takes; compare their address "
        "with the end of memory",
        gives_frames_from_the_end_of_memory,
    ),
    Check(
        "the numbers are in memory, and the run ends with status 0",
        3,
        10,
        "each number at the physical address that the page tables give, then a 0 in the exit port",
        "the kernel ends with another status if it reads back a wrong number",
        keeps_the_numbers,
    ),
)
