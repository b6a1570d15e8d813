"""The guests of lab 12's checks, new ones for each run: small kernels, and an init for Linux.

A kernel is a bzImage like Linux's, whose code is a few instructions of 32-bit code at 1 MiB. Its
header has fields of random values, so that a loader has to read them.

Source: Linux, Documentation/arch/x86/boot.rst; the opcodes are those of the Intel SDM, volume 2.
"""

from __future__ import annotations

import secrets
import stat
import struct
from io import BytesIO

from ringlet.linux import cpio

KERNEL = 0x100000  # where the code of a bzImage is loaded
SECTOR = 512
HEADER = 0x1F1  # the setup header begins here, in the image and in the zero page
END_OF_HEADER = 0x26C
TAG_SIZE = 16

# Offsets in the record of `record_kernel`: the tag, the counter, and the registers of the entry.
RECORD = 0x80
COUNTER = RECORD + TAG_SIZE
ENTRY = COUNTER + 4
ENTRY_REGISTERS = ("esi", "ebx", "ebp", "edi", "cr0", "cs", "ds", "es", "ss", "eflags")

COM1, COM1_LSR, LSR_THRE = 0x3F8, 0x3FD, 0x20
_STACK = KERNEL + 0x1000
_MASK = (1 << 64) - 1


def bzimage(code: bytes, init_size: int) -> bytes:
    """Returns a kernel of boot protocol 2.15 with this 32-bit code."""
    sectors = 1 + secrets.randbelow(60)
    setup = bytearray(secrets.token_bytes((1 + sectors) * SECTOR))
    setup[HEADER:END_OF_HEADER] = bytes(END_OF_HEADER - HEADER)
    setup[HEADER] = sectors
    struct.pack_into("<H", setup, 0x1FE, 0xAA55)  # boot_flag
    setup[0x200:0x206] = b"\xeb%cHdrS" % (END_OF_HEADER - 0x202)
    struct.pack_into("<H", setup, 0x206, 0x20F)  # version
    setup[0x211] = 1  # loadflags: LOADED_HIGH
    struct.pack_into("<I", setup, 0x214, KERNEL)  # code32_start
    struct.pack_into("<I", setup, 0x22C, 0x7FFF_FFFF)  # initrd_addr_max
    struct.pack_into("<I", setup, 0x230, 0x20_0000)  # kernel_alignment
    struct.pack_into("<I", setup, 0x238, 2047)  # cmdline_size
    struct.pack_into("<Q", setup, 0x240, secrets.randbits(64))  # hardware_subarch_data
    struct.pack_into("<Q", setup, 0x258, 0x100_0000)  # pref_address
    struct.pack_into("<I", setup, 0x260, init_size)
    return bytes(setup) + code


def record_kernel(tag: bytes, init_size: int) -> bytes:
    """A kernel that writes its registers into the record at RECORD, and then counts for ever."""
    places = (KERNEL + ENTRY + 4 * number for number in range(len(ENTRY_REGISTERS)))
    at = {
        name: struct.pack("<I", place) for name, place in zip(ENTRY_REGISTERS, places, strict=True)
    }
    code = b"\x89\x35" + at["esi"] + b"\x89\x1d" + at["ebx"]  # mov [...], esi; ...
    code += b"\x89\x2d" + at["ebp"] + b"\x89\x3d" + at["edi"]
    code += b"\x0f\x20\xc0\xa3" + at["cr0"]  # mov eax, cr0; mov [...], eax
    code += b"\x8c\xc8\xa3" + at["cs"] + b"\x8c\xd8\xa3" + at["ds"]  # mov eax, cs; ...
    code += b"\x8c\xc0\xa3" + at["es"] + b"\x8c\xd0\xa3" + at["ss"]
    code += b"\xbc" + struct.pack("<I", _STACK) + b"\x9c\x58\xa3" + at["eflags"]  # pushfd; pop eax
    code += b"\xff\x05" + struct.pack("<I", KERNEL + COUNTER) + b"\xeb\xf8"  # inc [...]; jmp to it
    assert len(code) <= RECORD
    return bzimage(code.ljust(RECORD, b"\x90") + tag + bytes(0x80), init_size)


class Kernel32:
    """Code of a small kernel, a step after the other; `expected` is what the port has to get."""

    def __init__(self) -> None:
        self.code = b""
        self.expected = b""

    def image(self) -> bytes:
        """Returns the kernel's image."""
        return bzimage(self.code, 1 << 20)

    def print(self, al: int) -> None:
        """Adds a random number to AL, which is `al`, and writes AL to COM1 once it is ready."""
        add = secrets.randbelow(256)
        self.code += b"\x04%c\x88\xc4" % add  # add al, ...; mov ah, al
        # mov dx, LSR; again: in al, dx; test al, THRE; jz again
        self.code += b"\x66\xba%s\xec\xa8%c\x74\xfb" % (COM1_LSR.to_bytes(2, "little"), LSR_THRE)
        self.code += b"\x88\xe0\x66\xba%s\xee" % COM1.to_bytes(
            2, "little"
        )  # mov al, ah; out dx, al
        self.expected += bytes([(al + add) & 0xFF])

    def sums(self, count: int) -> None:
        """Prints sums of random numbers."""
        for _ in range(count):
            al = secrets.randbelow(256)
            self.code += b"\xb0%c" % al
            self.print(al)

    def read_nothing(self, size: int) -> None:
        """Prints the upper byte of a read from ports that no device has, after a write to them."""
        port = 0x5000 + 8 * secrets.randbelow(0x100)
        self.code += b"\x66\xba" + port.to_bytes(2, "little") + b"\xee"
        self.code += {1: b"\xec", 2: b"\x66\xed\x88\xe0", 4: b"\xed\xc1\xe8\x18"}[size]
        self.print(0xFF)

    def read_clock(self) -> None:
        """Prints what is read from the clock's data port, for a random register."""
        self.code += b"\xb0%c\xe6\x70\xe4\x71" % secrets.randbelow(64)
        self.print(0)

    def use_pic(self) -> None:
        """Prints the interrupt mask of the first 8259A, which the guest has just set."""
        mask = 1 + secrets.randbelow(254)
        self.code += b"\xb0%c\xe6\x21\xb0\x00\xe4\x21" % mask
        self.print(mask)

    def use_pit(self) -> None:
        """Prints the two gate bits of port 0x61, which the guest has just set (Intel 82C54)."""
        gates = secrets.randbelow(3)
        self.code += b"\xb0%c\xe6\x61\xb0\x00\xe4\x61\x24\x03" % gates
        self.print(gates)

    def look_at_cpuid(self) -> None:
        """Prints two features: long mode (0x80000001 EDX 29) and hypervisor (1 ECX 31)."""
        # mov eax, leaf; cpuid; shift by 24; mov al, dl or cl; and al, bit
        self.code += b"\xb8\x01\x00\x00\x80\x0f\xa2\xc1\xea\x18\x88\xd0\x24\x20"
        self.print(0x20)
        self.code += b"\xb8\x01\x00\x00\x00\x0f\xa2\xc1\xe9\x18\x88\xc8\x24\x80"
        self.print(0x80)

    def reset(self) -> None:
        """Resets the machine by a triple fault: an IDT of no entry, and ud2."""
        zeros = struct.pack("<I", KERNEL + len(self.code) + 9)
        self.code += b"\x0f\x01\x1d" + zeros + b"\x0f\x0b" + bytes(8)

    def touch_nothing(self) -> None:
        """Reads from an address that has no memory, and then halts: mov al, [0x40000000]."""
        self.code += b"\xa0\x00\x00\x00\x40\xfa\xf4"


class Init:
    """A first program for Linux, and what has to be seen of it.

    It computes a number, writes the number to the kernel's log, and then counts in its memory, with
    a read from `port` and a sleep of `_SLEEP` in each round. When the byte `FLAG` behind the tag is
    set, or after `_ROUNDS`, it resets the machine.
    """

    FLAG = 24  # behind the tag of 16 bytes and the counter of 8

    _BASE = 0x400000
    _PATH, _TEXT, _TAG, _COUNTER, _TIME = 0xF00, 0xF20, 0xF40, 0xF50, 0xF60
    _ROUNDS, _SLEEP = 2000, 20_000_000  # nanoseconds

    def __init__(self) -> None:
        self.tag = secrets.token_bytes(TAG_SIZE)
        self.port = 0x5000 + secrets.randbelow(0x1000)
        value = secrets.randbits(64)
        work = b"\x48\xb8" + value.to_bytes(8, "little")  # movabs rax, ...
        for _ in range(12):
            number = secrets.randbits(31)
            data = number.to_bytes(4, "little")
            match secrets.randbelow(4):
                case 0:
                    work += b"\x48\x05" + data  # add rax, ...
                    value = value + number & _MASK
                case 1:
                    work += b"\x48\x35" + data  # xor rax, ...
                    value ^= number
                case 2:
                    work += b"\x48\x69\xc0" + data  # imul rax, rax, ...
                    value = value * number & _MASK
                case _:
                    by = number % 63 + 1
                    work += b"\x48\xc1\xc0%c" % by  # rol rax, ...
                    value = (value << by | value >> 64 - by) & _MASK
        # The number's digits are the letters a to p.
        self.answer = bytes(ord("a") + int(digit, 16) for digit in f"{value:016x}")
        self._code = self._assemble(work)

    def _assemble(self, work: bytes) -> bytes:
        def at(place: int) -> bytes:
            return struct.pack("<I", self._BASE + place)

        def number(value: int) -> bytes:
            return struct.pack("<I", value)

        call = b"\x0f\x05"  # syscall
        # iopl(3); ebp = open("/dev/kmsg", O_WRONLY)
        code = b"\xb8" + number(172) + b"\xbf" + number(3) + call
        code += b"\xb8" + number(2) + b"\xbf" + at(self._PATH) + b"\xbe" + number(1) + call
        code += b"\x89\xc5" + work
        # mov edi, text + 3; mov ecx, 16; next: rol rax, 4; mov dl, al; and dl, 15; add dl, 'a';
        # mov [rdi], dl; inc edi; dec ecx; jnz next
        code += b"\xbf" + at(self._TEXT + 3) + b"\xb9" + number(16)
        code += b"\x48\xc1\xc0\x04\x88\xc2\x80\xe2\x0f\x80\xc2\x61\x88\x17\xff\xc7\xff\xc9\x75\xec"
        # write(ebp, text, 20)
        code += b"\x89\xef\xb8" + number(1) + b"\xbe" + at(self._TEXT) + b"\xba" + number(20) + call
        # mov ebx, rounds; round: inc qword [counter]; mov dx, port; in al, dx
        code += b"\xbb" + number(self._ROUNDS)
        code += b"\x48\xff\x04\x25" + at(self._COUNTER) + b"\x66\xba" + struct.pack("<H", self.port)
        # nanosleep(time, 0); cmp byte [flag], 0; jne end; dec ebx; jnz round; end:
        code += b"\xec\xb8" + number(35) + b"\xbf" + at(self._TIME) + b"\x31\xf6" + call
        code += b"\x80\x3c\x25" + at(self._TAG + self.FLAG) + b"\x00\x75\x04\xff\xcb\x75\xd7"
        # reboot(MAGIC1, MAGIC2, RESTART)
        code += (
            b"\xb8" + number(169) + b"\xbf" + number(0xFEE1_DEAD) + b"\xbe" + number(0x2812_1969)
        )
        return code + b"\xba" + number(0x0123_4567) + call

    def _elf(self) -> bytes:
        """Returns the program: an ELF with one segment, at `_BASE`, that may do everything."""
        entry, size = 64 + 56, 0x1000
        header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        header += struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, self._BASE + entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
        )
        header += struct.pack("<IIQQQQQQ", 1, 7, 0, self._BASE, self._BASE, size, size, 0x1000)
        image = bytearray((header + self._code).ljust(size, b"\0"))
        for place, data in (
            (self._PATH, b"/dev/kmsg\0"),
            (self._TEXT, b"<1>".ljust(19) + b"\n"),  # 1 is KERN_ALERT, which `quiet` lets through
            (self._TAG, self.tag),
            (self._TIME, struct.pack("<QQ", 0, self._SLEEP)),
        ):
            image[place : place + len(data)] = data
        return bytes(image)

    def initramfs(self) -> bytes:
        """Returns an initramfs with the program as /init, and the devices that it needs."""
        out = BytesIO()
        node = stat.S_IFCHR | 0o600
        entries = {
            "init": cpio.Entry(stat.S_IFREG | 0o755, self._elf()),
            "dev/console": cpio.Entry(node, device=(5, 1)),
            "dev/kmsg": cpio.Entry(node, device=(1, 11)),
        }
        cpio.write(out, entries)
        return out.getvalue()
