"""`iretq` to ring 3, done by the debugger: as the processor does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet import Machine, MachineConfig, debug
from ringlet.kvm.registers import (
    DescriptorTable,
    Registers,
    Segment,
    SpecialRegisters,
    code_segment,
    data_segment,
)
from ringlet.observe.console.interrupt_return import IRETQ, return_to_ring_3
from ringlet.observe.debug.debugger import Debugger

pytestmark = pytest.mark.needs_kvm


def at_iretq(debugger: Debugger) -> None:
    """Brings the guest `rings` to the `iretq` of its kernel's way to ring 3."""
    debugger.machine.start()
    debugger.wait()
    debugger.add_breakpoint("ring_3_enter")
    debugger.continue_()
    debugger.wait()
    debugger.remove_breakpoint("ring_3_enter")
    while debugger.read(debugger.next_address(), 2) != IRETQ:
        debugger.step()
        debugger.wait()


def at_handler(by_hand: bool) -> tuple[Registers, SpecialRegisters, bytes]:
    """The state in which ring 3 comes back, and the frame that it leaves."""
    with (
        Machine(MachineConfig(image="rings", serial="none", timeout=60)) as machine,
        debug(machine) as debugger,
    ):
        at_iretq(debugger)
        if by_hand:
            state = return_to_ring_3(
                debugger.registers(), debugger.special_registers(), debugger.read
            )
            assert state is not None
            debugger.set_special_registers(state.special)
            debugger.set_registers(state.registers)
        debugger.add_breakpoint("system_call")
        debugger.continue_()
        debugger.wait()
        registers, special = debugger.registers(), debugger.special_registers()
        frame = debugger.read(registers.rsp, 40)
        debugger.kill()
    return registers, special, frame


def test_the_guest_goes_on_as_after_the_processors_own() -> None:
    registers, special, frame = at_handler(by_hand=True)
    own_registers, own_special, own_frame = at_handler(by_hand=False)
    assert registers == own_registers
    assert frame == own_frame
    # A software KVM doesn't take DS, ES, FS and GS from ring 3, as processors do.
    for name in ("cs", "ss", "tr", "cr0", "cr3", "cr4", "efer", "gdt", "idt"):
        assert getattr(special, name) == getattr(own_special, name)


@given(
    place=st.sampled_from([0, 8, 16, 24, 32]),
    value=st.one_of(st.integers(0, 0xFFFF), st.integers(0, (1 << 64) - 1)),
)
def test_a_frame_that_the_processor_refuses_is_left_to_it(place: int, value: int) -> None:
    state = return_to_ring_3(
        REGISTERS, SPECIAL, reader({STACK + place: value.to_bytes(8, "little")})
    )
    if state is not None:
        assert state.special.cs.selector & 3 == state.special.ss.selector & 3 == 3
        assert state.special.cs.dpl == state.special.ss.dpl == 3
        assert state.registers.rflags & ~0x3F7FD7 == 0
        assert state.registers.rflags & 2
        SpecialRegisters.unpack(state.special.pack())
        Registers.unpack(state.registers.pack())


CODE, STACK, GDT = 0x1000, 0x2000, 0x3000
DESCRIPTORS = (
    *(0, 0x00209B0000000000, 0x0000930000000000),
    *(0x0000F30000000000, 0x0020FB0000000000),
)


def reader(changed: dict[int, bytes]):
    """Memory with an `iretq`, a frame of ring 3 and a GDT, and with what is changed."""
    frame = (0x400000, 0x23, 2, 0x402000, 0x1B)
    places = {CODE: IRETQ}
    places |= {STACK + 8 * at: word.to_bytes(8, "little") for at, word in enumerate(frame)}
    places |= {GDT + 8 * at: word.to_bytes(8, "little") for at, word in enumerate(DESCRIPTORS)}
    places |= changed

    def read(address: int, size: int) -> bytes:
        data = b""
        while len(data) < size and places.get(address + len(data)):
            data += places[address + len(data)]
        return data[:size]

    return read


REGISTERS = Registers(rip=CODE, rsp=STACK)
KERNEL, DATA = code_segment(8, bits=64), data_segment(0x10, bits=64)
SPECIAL = SpecialRegisters(
    *(KERNEL, DATA, DATA, DATA, DATA, DATA, Segment(), Segment()),
    gdt=DescriptorTable(GDT, 8 * len(DESCRIPTORS) - 1),
    idt=DescriptorTable(),
    cr0=0x8000_0011,
    cr4=0x20,
    efer=0x500,
)


def test_the_kernels_data_segments_become_null_segments() -> None:
    state = return_to_ring_3(REGISTERS, SPECIAL, reader({}))
    assert state is not None
    assert (state.registers.rip, state.registers.rsp) == (0x400000, 0x402000)
    assert [getattr(state.special, name).unusable for name in ("ds", "es", "fs", "gs")] == [1] * 4
    assert (state.special.cs.l, state.special.cs.type, state.special.ss.type) == (1, 0xB, 3)


@pytest.mark.parametrize(
    "changed",
    [
        {CODE: b"\x90\x90"},  # no iretq
        {STACK + 8: (8).to_bytes(8, "little")},  # stays in ring 0
        {STACK + 8: (0x1B).to_bytes(8, "little")},  # CS would be data
        {STACK + 32: (0x23).to_bytes(8, "little")},  # SS would be code
        {STACK + 32: (0x2B).to_bytes(8, "little")},  # beyond the GDT
        {STACK + 8: (0x27).to_bytes(8, "little")},  # in the LDT
        {STACK: (1 << 47).to_bytes(8, "little")},  # RIP isn't canonical
        {GDT + 0x20: bytes(8)},  # not present
        {STACK + 16: b""},  # the stack ends
    ],
)
def test_what_the_processor_refuses_is_left_to_the_processor(changed: dict[int, bytes]) -> None:
    assert return_to_ring_3(REGISTERS, SPECIAL, reader(changed)) is None
