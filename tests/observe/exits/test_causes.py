"""The instruction that caused an exit, found on the KVM of this host: the right one, or none."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringlet.boot.symbols import Symbol, Symbols
from ringlet.kvm import exits
from ringlet.kvm.registers import Registers
from ringlet.observe.exits.causes import Cause, CauseFinder
from ringlet.observe.exits.kvm_cost import measure
from ringlet.observe.exits.places import Access

from ...kvm.guest import CODE, MMIO, PAGE_TABLES, Guest, long_mode, real_mode

pytestmark = pytest.mark.needs_kvm

HALT = b"\xf4"
PORT = 0x510
OUT, IN = b"\xee", b"\xec"  # out dx, al; in al, dx
DEVICE = 0xD000_0000  # of the guest in long mode, where no memory is
WINDOW = 0x20_0000  # the linear address at which that guest has the device


@contextmanager
def windowed(code: bytes, registers: Registers) -> Iterator[Guest]:
    """A guest in long mode, with DEVICE mapped at WINDOW."""
    with long_mode(code, registers) as guest:
        entry = DEVICE | 0x83  # present, writable, large
        guest.memory.write(PAGE_TABLES + 0x2000 + 8, entry.to_bytes(8, "little"))
        yield guest


def access(exit: exits.Exit) -> Access | None:
    match exit:
        case exits.PortRead(port, size) | exits.PortStringRead(port, size, _):
            return Access(False, False, size, port)
        case exits.PortWrite(port, size, _) | exits.PortStringWrite(port, size, _, _):
            return Access(False, True, size, port)
        case exits.MmioRead(address, size):
            return Access(True, False, size, address)
        case exits.MmioWrite(address, size, _):
            return Access(True, True, size, address)
    return None


def causes(guest: Guest, *, symbols: Symbols | None = None) -> list[tuple[int, str] | None]:
    """The offset in the code and the text of the cause of each access, up to the halt."""
    symbol = (symbols or Symbols()).at
    finder = CauseFinder(guest.vcpu, guest.memory, behind=measure().behind, symbol=symbol)
    found: list[tuple[int, str] | None] = []
    while (made := access(guest.vcpu.run())) is not None:
        cause = finder.find(made)
        found.append(None if cause is None else (cause.address - CODE, cause.text))
    return found


def test_port_accesses_in_real_mode() -> None:
    code = IN + OUT + b"\xe4\x80" + b"\xe6\x80" + b"\xed" + b"\x66\xef" + HALT
    with real_mode(code, Registers(rdx=PORT)) as guest:
        assert causes(guest) == [
            (0, "in al, dx"),
            (1, "out dx, al"),
            (2, "in al, 0x80"),
            (4, "out 0x80, al"),
            (6, "in ax, dx"),
            (7, "out dx, eax"),
        ]


def test_each_of_the_same_instructions_in_a_row_has_its_own_address() -> None:
    with real_mode(4 * OUT + HALT, Registers(rdx=PORT)) as guest:
        assert causes(guest) == [(at, "out dx, al") for at in range(4)]


def test_a_byte_that_looks_like_an_instruction_is_none() -> None:
    # out 0xee, al: its second byte is `out dx, al`; the port tells them apart.
    with real_mode(b"\xe6\xee" + HALT, Registers(rdx=PORT)) as guest:
        assert causes(guest) == [(0, "out 0xee, al")]


def test_a_repeated_string_instruction_has_one_address() -> None:
    code = b"\xf3\x6e" + OUT + HALT  # rep outsb; out dx, al
    with real_mode(code, Registers(rdx=PORT, rcx=3, rsi=CODE)) as guest:
        text = "rep outsb dx, byte ptr [si]"
        found = causes(guest)
        assert set(found[:-1]) == {(0, text)}
        assert found[-1] == (2, "out dx, al")


def test_mmio_in_real_mode_uses_the_segment() -> None:
    # mov es:[di], al; mov al, es:[di]; stosb; mov ax, es:[bx+si+4]
    code = b"\x26\x88\x05" + b"\x26\x8a\x05" + b"\xaa" + b"\x26\x8b\x40\x04" + HALT
    with real_mode(code, Registers(rdi=0x10, rbx=2, rsi=3)) as guest:
        assert causes(guest) == [
            (0, "mov byte ptr es:[di], al"),
            (3, "mov al, byte ptr es:[di]"),
            (6, "stosb byte ptr es:[di], al"),
            (7, "mov ax, word ptr es:[bx + si + 4]"),
        ]


def test_repeated_stores_to_mmio_have_one_address() -> None:
    with real_mode(b"\xf3\xaa" + HALT, Registers(rdi=0x10, rcx=4)) as guest:
        assert causes(guest) == 4 * [(0, "rep stosb byte ptr es:[di], al")]


def test_mmio_in_long_mode_goes_through_the_page_tables() -> None:
    # mov [rdi], eax; mov eax, [rdi+8]; or [rdi+4], eax; mov [rip+N], al, which is WINDOW; movsb
    code = b"\x89\x07" + b"\x8b\x47\x08" + b"\x09\x47\x04"
    code += b"\x88\x05" + (WINDOW - CODE - len(code) - 6).to_bytes(4, "little")
    code += b"\xa4" + HALT
    with windowed(code, Registers(rdi=WINDOW, rsi=CODE)) as guest:
        assert causes(guest) == [
            (0, "mov dword ptr [rdi], eax"),
            (2, "mov eax, dword ptr [rdi + 8]"),
            (5, "or dword ptr [rdi + 4], eax"),
            (5, "or dword ptr [rdi + 4], eax"),
            (8, f"mov byte ptr [rip + {WINDOW - CODE - 14:#x}], al"),
            (14, "movsb byte ptr [rdi], byte ptr [rsi]"),
        ]


@pytest.mark.parametrize("prefix", [0x67, 0x3E])
def test_a_byte_before_that_looks_like_a_prefix_is_none(prefix: int) -> None:
    code = b"\xb0" + bytes([prefix]) + b"\x88\x07" + HALT  # mov al, prefix; mov [rdi], al
    with windowed(code, Registers(rdi=WINDOW)) as guest:
        assert causes(guest) == [None]
    with windowed(code, Registers(rdi=WINDOW)) as guest:
        symbols = Symbols([Symbol(CODE, len(code), "start")])
        assert causes(guest, symbols=symbols) == [(2, "mov byte ptr [rdi], al")]


def test_an_instruction_that_has_changed_its_address_is_not_guessed() -> None:
    with windowed(b"\x87\x3f" + HALT, Registers(rdi=WINDOW)) as guest:  # xchg [rdi], edi
        read, written = causes(guest)
        assert read == (0, "xchg dword ptr [rdi], edi")
        assert written is None


def test_a_call_with_its_stack_in_a_device_has_no_instruction_that_fits() -> None:
    code = b"\xe8\x02\x00\x00\x00" + HALT + b"\x90" + HALT  # call over the hlt
    with windowed(code, Registers()) as guest:
        guest.vcpu.registers = guest.vcpu.registers._replace(rsp=WINDOW + 0x100)
        assert causes(guest)[0] is None


def test_code_that_is_written_anew_is_read_anew() -> None:
    with real_mode(OUT + b"\xeb\xfd", Registers(rdx=PORT)) as guest:  # and a jump back
        finder = CauseFinder(
            guest.vcpu, guest.memory, behind=measure().behind, symbol=lambda at: None
        )
        one = Access(False, True, 1, PORT)
        guest.vcpu.run()
        assert finder.find(one) == Cause(CODE, "out dx, al")
        guest.memory.write(CODE, b"\xef")  # out dx, ax
        guest.vcpu.run()
        guest.vcpu.run()
        assert finder.find(one) is None
        assert finder.find(one._replace(size=2)) == Cause(CODE, "out dx, ax")


def test_a_page_that_is_mapped_anew_is_translated_anew_after_a_tick() -> None:
    with windowed(b"\x88\x07\xeb\xfc", Registers(rdi=WINDOW)) as guest:  # mov [rdi], al; jmp
        finder = CauseFinder(guest.vcpu, guest.memory, behind=True, symbol=lambda at: None)
        guest.vcpu.run()
        assert finder.find(Access(True, True, 1, DEVICE)) == Cause(CODE, "mov byte ptr [rdi], al")
        assert finder.find(Access(True, True, 1, DEVICE + 0x20_0000)) is None
        entry = DEVICE + 0x20_0000 | 0x83
        guest.memory.write(PAGE_TABLES + 0x2000 + 8, entry.to_bytes(8, "little"))
        finder.forget()
        assert finder.find(Access(True, True, 1, DEVICE + 0x20_0000)) is not None


def test_code_at_the_end_of_memory_is_read_as_far_as_it_goes() -> None:
    with real_mode(b"\x90", Registers(rdx=PORT)) as guest:
        end = guest.memory.size
        guest.memory.write(end - 2, OUT + b"\x90")
        guest.vcpu.registers = guest.vcpu.registers._replace(rip=end - 2)
        finder = CauseFinder(
            guest.vcpu, guest.memory, behind=measure().behind, symbol=lambda at: None
        )
        guest.vcpu.run()
        assert finder.find(Access(False, True, 1, PORT)) == Cause(end - 2, "out dx, al")


def test_for_other_exits_the_instruction_at_rip_is_told() -> None:
    with real_mode(b"\xe4\x80") as guest:  # in al, 0x80
        finder = CauseFinder(guest.vcpu, guest.memory, behind=True, symbol=lambda at: None)
        guest.vcpu.run()
        assert finder.at_rip() == Cause(CODE, "in al, 0x80")


def test_no_memory_behind_the_linear_address_gives_no_cause() -> None:
    with real_mode(OUT, Registers(rdx=PORT)) as guest:
        finder = CauseFinder(guest.vcpu, guest.memory, behind=True, symbol=lambda at: None)
        guest.vcpu.run()
        assert finder.find(Access(True, False, 4, MMIO)) is None
