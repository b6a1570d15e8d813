"""Guests of a few bytes, put together by hand: `run` boots one.

They run in 16-bit real mode; those of `protected` in 32-bit protected mode, where an address can
be beyond RAM. The opcodes are those of the Intel SDM, volume 2.
"""

from typing import Any

from ringlet import Machine, MachineConfig, Result

from .boot.elf_builder import Part, build, pvh_note

PORT = 0x700  # no device of ringlet's is there

MOV_DX_PORT = b"\xba" + PORT.to_bytes(2, "little")
IN_AL_DX, IN_AX_DX, IN_EAX_DX = b"\xec", b"\xed", b"\x66\xed"
OUT_DX_AL, OUT_DX_AX, OUT_DX_EAX = b"\xee", b"\xef", b"\x66\xef"
EXIT = b"\xe6\xf4"  # out 0xf4, al
STI = b"\xfb"
HALT = b"\xf4"
UD2 = b"\x0f\x0b"
SPIN = b"\xeb\xfe"  # jmp to itself
HALT_WITH_INTERRUPTS = STI + HALT + b"\xeb\xfd"  # jmp to the hlt
RESET = b"\xb0\xfe\xe6\x64"  # mov al, 0xfe; out 0x64, al

# mov dx, PM1's control register; mov ax, SLP_EN and SLP_TYP for S5; out dx, ax
POWER_OFF = b"\xba\x04\x06\xb8\x00\x34" + OUT_DX_AX
IRET = b"\xcf"

READ_AND_EXIT = MOV_DX_PORT + IN_AL_DX + EXIT
READ_FOR_EVER = MOV_DX_PORT + IN_AL_DX + b"\xeb\xfd"
# in al, dx; inc dx; jmp
SCAN_PORTS_FOR_EVER = b"\x31\xd2" + IN_AL_DX + b"\x42\xeb\xfc"
# mov dx, COM1; mov al, 'x'; out dx, al; jmp
FLOOD = b"\xba\xf8\x03\xb0\x78" + OUT_DX_AL + b"\xeb\xfd"


def exit_with(status: int) -> bytes:
    """mov al, status; out 0xf4, al"""
    return b"\xb0" + bytes([status]) + EXIT


def on_interrupt(number: int, handler: bytes) -> bytes:
    """Starts with interrupts on and `handler` for an IRQ line of the first PIC, then goes on.

    A PIC that nobody has programmed gives line n the vector n.
    """
    setup = 2 * 6 + len(STI) + 2
    vector = 4 * number
    return (
        b"\xc7\x06" + vector.to_bytes(2, "little") + (0x7C00 + setup).to_bytes(2, "little")
        + b"\xc7\x06" + (vector + 2).to_bytes(2, "little") + b"\0\0"
        + STI
        + b"\xeb" + bytes([len(handler)])
        + handler
    )  # fmt: skip


def say(byte: bytes) -> bytes:
    """mov dx, COM1; mov al, byte; out dx, al"""
    return b"\xba\xf8\x03\xb0" + byte + OUT_DX_AL


def on_power_button(handler: bytes) -> bytes:
    """Enables the power button, says `.`, and waits for it; then `handler` begins.

    Its IRQ 9 is line 1 of the second PIC, which nobody has programmed, so the vector is 1.
    """
    # mov dx, PM1's enable register; mov ax, PWRBTN_EN; out dx, ax
    enable = b"\xba\x02\x06\xb8\x00\x01" + OUT_DX_AX
    return on_interrupt(1, handler) + enable + say(b".") + HALT + b"\xeb\xfd"


# mov dx, PM1's status register; mov ax, PWRBTN_STS; out dx, ax
CLEAR_POWER_BUTTON = b"\xba\x00\x06\xb8\x00\x01" + OUT_DX_AX
OBEYS = on_power_button(POWER_OFF)
REFUSES = on_power_button(CLEAR_POWER_BUTTON + say(b"!") + IRET)


def protected(code: bytes) -> bytes:
    """A PVH image of `code`, 32-bit; for `machine`, with `protocol=None`."""
    entry = 0x100000
    return bytes(build(32, [Part(entry, code), pvh_note(entry)], machine=3))


def machine(code: bytes, **options: Any) -> Machine:
    """A machine for `code`, which ends after a minute at the latest."""
    options = {"serial": "none", "timeout": 60, "protocol": "flat", **options}
    return Machine(MachineConfig(image=code, **options))


def run(code: bytes, **options: Any) -> Result:
    """How `code` ends on a machine with no further devices."""
    with machine(code, **options) as made:
        return made.run()
