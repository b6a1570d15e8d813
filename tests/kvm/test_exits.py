"""Each kind of exit, made by a guest."""

import pytest

from ringlet.kvm import exits
from ringlet.kvm.core import ffi, lib
from ringlet.kvm.exits import (
    Debug,
    Error,
    FailEntry,
    Halt,
    InternalError,
    MmioRead,
    MmioWrite,
    PortRead,
    PortStringRead,
    PortStringWrite,
    PortWrite,
    Shutdown,
    SystemEvent,
    Unknown,
)
from ringlet.kvm.registers import DescriptorTable, Registers
from ringlet.kvm.vcpu import (
    DEBUG_ENABLE,
    DEBUG_HARDWARE,
    KEY_SHIFT,
    KEY_SIZE_SHIFT,
    KEY_WRITE,
    KIND_NAMES,
    KIND_SHIFT,
    VALUE_MASK,
)

from .guest import CODE, MMIO, bare, long_mode, real_mode

pytestmark = pytest.mark.needs_kvm

HALT = b"\xf4"  # hlt


@pytest.mark.parametrize(
    ("code", "size", "value"),
    [
        (b"\xee", 1, 0x44),  # out dx, al
        (b"\xef", 2, 0x3344),  # out dx, ax
        (b"\x66\xef", 4, 0x11223344),  # out dx, eax
    ],
)
def test_out_is_a_port_write_of_its_size(code: bytes, size: int, value: int) -> None:
    with real_mode(code + HALT, Registers(rax=0x11223344, rdx=0xFFF0)) as guest:
        assert guest.vcpu.run() == PortWrite(0xFFF0, size, value)
        assert guest.vcpu.run() == Halt()


@pytest.mark.parametrize(
    ("code", "size", "rax"),
    [
        (b"\xec", 1, 0x112233CC),  # in al, dx
        (b"\xed", 2, 0x1122BBCC),  # in ax, dx
        (b"\x66\xed", 4, 0x99AABBCC),  # in eax, dx
    ],
)
def test_the_reply_to_in_is_what_the_guest_reads(code: bytes, size: int, rax: int) -> None:
    with real_mode(code + HALT, Registers(rax=0x11223344, rdx=0x80)) as guest:
        assert guest.vcpu.run() == PortRead(0x80, size)
        assert guest.vcpu.run(0x99AABBCC) == Halt()
        assert guest.vcpu.registers.rax == rax


@pytest.mark.parametrize(
    ("code", "size"),
    [
        (b"\xf3\x6e", 1),  # rep outsb
        (b"\xf3\x6f", 2),  # rep outsw
        (b"\xf3\x66\x6f", 4),  # rep outsd
    ],
)
def test_rep_outs_hands_over_all_its_data(code: bytes, size: int) -> None:
    data = bytes(range(1, 25))
    count = len(data) // size
    with real_mode(code + HALT, Registers(rcx=count, rsi=0x3000, rdx=0x3F8)) as guest:
        guest.memory.write(0x3000, data)
        written = b""
        while (exit := guest.vcpu.run()) != Halt():
            match exit:  # hardware may make one exit of many, or one of each
                case PortStringWrite(0x3F8, width, n, part):
                    assert (width, len(part)) == (size, size * n)
                    written += part
                case PortWrite(0x3F8, width, value):
                    written += value.to_bytes(width, "little")
                case _:
                    pytest.fail(f"{exit}")
        assert written == data
        assert guest.vcpu.registers.rcx == 0


@pytest.mark.parametrize(
    ("code", "size"),
    [
        (b"\xf3\x6c", 1),  # rep insb
        (b"\xf3\x6d", 2),  # rep insw
        (b"\xf3\x66\x6d", 4),  # rep insd
    ],
)
def test_rep_ins_takes_its_data_from_the_reply(code: bytes, size: int) -> None:
    data = bytes(range(1, 25))
    count = len(data) // size
    with real_mode(code + HALT, Registers(rcx=count, rdx=0x60, rdi=0x3000)) as guest:
        special = guest.vcpu.special_registers
        guest.vcpu.special_registers = special._replace(es=special.ds)
        rest, reply, strings = data, 0, 0
        while (exit := guest.vcpu.run(reply)) != Halt():
            match exit:
                case PortStringRead(0x60, width, n):
                    assert width == size
                    guest.vcpu.reply_string(rest[: size * n])
                    rest = rest[size * n :]
                    strings += 1
                case PortRead(0x60, width):
                    reply = int.from_bytes(rest[:width], "little")
                    rest = rest[width:]
                case _:
                    pytest.fail(f"{exit}")
        assert strings > 0
        assert guest.memory.read(0x3000, len(data)) == data


def test_a_reply_to_ins_of_another_length_is_refused() -> None:
    # rep insb
    with real_mode(b"\xf3\x6c" + HALT, Registers(rcx=4, rdx=0x60, rdi=0x3000)) as guest:
        special = guest.vcpu.special_registers
        guest.vcpu.special_registers = special._replace(es=special.ds)
        exit = guest.vcpu.run()
        assert isinstance(exit, PortStringRead)
        for length in (0, exit.repeat - 1, exit.repeat + 1, 1 << 20):
            with pytest.raises(ValueError, match=f"{length} bytes"):
                guest.vcpu.reply_string(bytes(length))
        guest.vcpu.reply_string(b"abcd"[: exit.repeat])


def test_no_reply_to_ins_fits_where_none_is_asked_for() -> None:
    with real_mode(HALT) as guest:
        with pytest.raises(ValueError, match="1 bytes"):
            guest.vcpu.reply_string(b"x")
        guest.vcpu.run()
        with pytest.raises(ValueError, match="1 bytes"):
            guest.vcpu.reply_string(b"x")


@pytest.mark.parametrize(
    ("code", "size", "value"),
    [
        (b"\x88\x03", 1, 0x88),  # mov [rbx], al
        (b"\x66\x89\x03", 2, 0x7788),  # mov [rbx], ax
        (b"\x89\x03", 4, 0x55667788),  # mov [rbx], eax
        (b"\x48\x89\x03", 8, 0x1122334455667788),  # mov [rbx], rax
    ],
)
def test_a_write_where_no_memory_is(code: bytes, size: int, value: int) -> None:
    registers = Registers(rax=0x1122334455667788, rbx=MMIO + 8)
    with long_mode(code + HALT, registers) as guest:
        assert guest.vcpu.run() == MmioWrite(MMIO + 8, size, value)
        assert guest.vcpu.run() == Halt()


@pytest.mark.parametrize(
    ("code", "size", "rax"),
    [
        (b"\x8a\x03", 1, 0xAAAAAAAAAAAAAA88),  # mov al, [rbx]
        (b"\x66\x8b\x03", 2, 0xAAAAAAAAAAAA7788),  # mov ax, [rbx]
        (b"\x8b\x03", 4, 0x55667788),  # mov eax, [rbx]
        (b"\x48\x8b\x03", 8, 0x1122334455667788),  # mov rax, [rbx]
    ],
)
def test_a_read_where_no_memory_is(code: bytes, size: int, rax: int) -> None:
    registers = Registers(rax=0xAAAAAAAAAAAAAAAA, rbx=MMIO + 16)
    with long_mode(code + HALT, registers) as guest:
        assert guest.vcpu.run() == MmioRead(MMIO + 16, size)
        assert guest.vcpu.run(0x1122334455667788) == Halt()
        assert guest.vcpu.registers.rax == rax


@pytest.mark.parametrize(
    ("code", "size", "write"),
    [
        (b"\x8a\x03", 1, 0),  # mov al, [rbx]
        (b"\x66\x8b\x03", 2, 0),  # mov ax, [rbx]
        (b"\x8b\x03", 4, 0),  # mov eax, [rbx]
        (b"\x88\x03", 1, KEY_WRITE),  # mov [rbx], al
        (b"\x66\x89\x03", 2, KEY_WRITE),  # mov [rbx], ax
        (b"\x89\x03", 4, KEY_WRITE),  # mov [rbx], eax
    ],
)
def test_the_number_of_an_mmio_exit_is_its_kind_direction_size_and_value(
    code: bytes, size: int, write: int
) -> None:
    registers = Registers(rax=0x1122334455667788, rbx=MMIO + 8)
    with long_mode(code + HALT, registers) as guest:
        number = guest.vcpu.enter(0)
        kind = lib.RINGLET_EXIT_MMIO << KIND_SHIFT - KEY_SHIFT
        assert number >> KEY_SHIFT == kind | write | size << KEY_SIZE_SHIFT
        value = 0x1122334455667788 & (1 << 8 * size) - 1
        assert number & VALUE_MASK == (value if write else 0)
        assert guest.vcpu.native.address == MMIO + 8


@pytest.mark.parametrize("code", [b"\x48\x89\x03", b"\x48\x8b\x03"])  # mov of rax and [rbx]
def test_the_number_of_an_mmio_exit_of_8_bytes_is_its_kind_alone(code: bytes) -> None:
    with long_mode(code + HALT, Registers(rax=0x1122334455667788, rbx=MMIO)) as guest:
        assert guest.vcpu.enter(0) == lib.RINGLET_EXIT_MMIO << KIND_SHIFT


def test_a_write_that_is_no_reply_ignores_the_number() -> None:
    # out dx, al; out dx, al
    with real_mode(b"\xee\xee" + HALT, Registers(rax=7, rdx=1)) as guest:
        assert guest.vcpu.run(0xFF) == PortWrite(1, 1, 7)
        assert guest.vcpu.run(0xFFFFFFFFFFFFFFFF) == PortWrite(1, 1, 7)
        assert guest.vcpu.run(0xFF) == Halt()
        assert guest.vcpu.registers.rax == 7


def test_a_fault_with_no_way_to_handle_it_is_a_shutdown() -> None:
    with long_mode(b"\x0f\x0b") as guest:  # ud2
        special = guest.vcpu.special_registers
        guest.vcpu.special_registers = special._replace(idt=DescriptorTable(0, 0))
        assert guest.vcpu.run() == Shutdown()
        assert guest.vcpu.exits == {"shutdown": 1}


def test_what_kvm_cant_emulate_is_an_internal_error_with_the_instruction() -> None:
    # popcnt ax, es:[di]: no host can but emulate an access to where no memory is
    code = b"\x26\xf3\x0f\xb8\x05"
    with real_mode(code + HALT) as guest:
        exit = guest.vcpu.run()
        assert isinstance(exit, InternalError)
        assert exit.suberror == exits.EMULATION_FAILURE
        assert exit.instruction.startswith(code)
        assert len(exit.instruction) <= 15
        assert guest.vcpu.registers.rip == CODE


def test_a_single_step_ends_in_a_debug_exit() -> None:
    # nop; nop; hlt
    with long_mode(b"\x90\x90" + HALT) as guest:
        guest.vcpu.single_step(True)
        for address in (CODE + 1, CODE + 2):
            exit = guest.vcpu.run()
            assert isinstance(exit, Debug)
            assert (exit.exception, exit.pc) == (1, address)
            assert exit.dr6 & 1 << 14  # BS, single step (Intel SDM volume 3, 19.2.3)
            assert guest.vcpu.registers.rip == address
        guest.vcpu.single_step(False)
        assert guest.vcpu.run() == Halt()


def test_a_debug_register_ends_in_a_debug_exit_at_its_address() -> None:
    # nop; nop; hlt
    with long_mode(b"\x90\x90" + HALT) as guest:
        control = DEBUG_ENABLE | DEBUG_HARDWARE
        guest.vcpu.guest_debug(control, (CODE + 1, 0, 0, 0, 0, 0, 0, 0x602))
        exit = guest.vcpu.run()
        if exit == Halt():
            pytest.skip("this KVM has no hardware breakpoints")
        assert isinstance(exit, Debug)
        assert (exit.exception, exit.pc, exit.dr6 & 0xF) == (1, CODE + 1, 1)
        guest.vcpu.guest_debug(0)
        assert guest.vcpu.run() == Halt()


def test_kvm_refusing_to_run_is_an_error_with_its_errno() -> None:
    with bare(HALT) as guest:
        guest.vcpu.close()
        exit = guest.vcpu.run()
    assert isinstance(exit, Error)
    assert exit.errno == 9  # EBADF


def test_exits_are_counted_by_kind() -> None:
    # out dx, al; in al, dx; mov es:[di], al
    with real_mode(b"\xee\xec\x26\x88\x05" + HALT) as guest:
        assert guest.vcpu.exits == {}
        while guest.vcpu.run() != Halt():
            pass
        assert guest.vcpu.exits == {"port": 2, "mmio": 1, "halt": 1}
        guest.vcpu.kick()
        guest.vcpu.run()
        assert guest.vcpu.exits["interrupted"] == 1


def test_every_kind_has_a_name() -> None:
    assert len(KIND_NAMES) == lib.RINGLET_EXIT_KINDS
    assert len(set(KIND_NAMES)) == lib.RINGLET_EXIT_KINDS


# Kinds that a guest can't make on every host, from the structure that the core fills.


def decoded(kind: int, *detail: int) -> exits.Exit:
    native = ffi.new("struct ringlet_vcpu *")
    native.detail_count = len(detail)
    native.detail[0 : len(detail)] = detail
    return exits.decode(native, kind << 56)


@pytest.mark.parametrize(
    ("kind", "detail", "exit"),
    [
        ("SYSTEM_EVENT", (2,), SystemEvent(2, ())),
        ("SYSTEM_EVENT", (3, 4, 5), SystemEvent(3, (4, 5))),
        ("INTERNAL_ERROR", (3, 7), InternalError(3, (7,))),
        ("FAIL_ENTRY", (0x80000021, 1), FailEntry(0x80000021, 1)),
        ("UNKNOWN", (99,), Unknown(99)),
        ("ERROR", (14,), Error(14)),
    ],
)
def test_rare_kinds_are_decoded(kind: str, detail: tuple[int, ...], exit: exits.Exit) -> None:
    assert decoded(getattr(lib, f"RINGLET_EXIT_{kind}"), *detail) == exit


@pytest.mark.parametrize(
    ("suberror", "data", "instruction"),
    [
        (1, (1, 0x0A0B0C02, 0, 0), b"\x0c\x0b"),  # two bytes
        (1, (1, 0xFF, 0xFFFFFFFFFFFFFFFF, 0), bytes(7) + b"\xff" * 8),  # never more than 15
        (1, (0, 0x0A0B0C02, 0, 0), b""),  # the flag says that there are none
        (1, (), b""),
        (1, (1,), b""),
        (3, (1, 0x0A0B0C02, 0, 0), b""),  # another error's data
    ],
)
def test_the_instruction_of_an_internal_error(
    suberror: int, data: tuple[int, ...], instruction: bytes
) -> None:
    assert InternalError(suberror, data).instruction == instruction
