"""A vCPU: its state, and running it.

Source: Linux, Documentation/virt/kvm/api.rst, 4 ("vcpu ioctl") and 5 (kvm_run).
"""

from __future__ import annotations

import struct
from functools import partial
from threading import RLock

from ringlet.closing import Closing
from ringlet.kvm.core import check, ffi, lib
from ringlet.kvm.cpuid import ENTRY_SIZE, MAX_ENTRIES
from ringlet.kvm.registers import Registers, SpecialRegisters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.kvm.exits import Exit

# KVM_GET_MP_STATE on x86.
MP_RUNNABLE = 0
MP_UNINITIALIZED = 1
MP_INIT_RECEIVED = 2
MP_HALTED = 3

# The number that `enter` returns: see ringlet_vcpu_run in csrc/core/ringlet.h.
KIND_SHIFT = 56
KEY_SHIFT = 32  # what lies above is the access without its value: kind, write, size, port
KEY_WRITE = 1 << 19
KEY_SIZE_SHIFT = 16
KEY_SIZE = 7 << KEY_SIZE_SHIFT
VALUE_MASK = 0xFFFF_FFFF


# By enum ringlet_exit_kind.
KIND_NAMES = (
    "port",
    "port-string",
    "mmio",
    "halt",
    "shutdown",
    "system-event",
    "internal-error",
    "debug",
    "fail-entry",
    "interrupted",
    "unknown",
    "error",
)


class Vcpu(Closing):
    """A vCPU, made by `Vm.create_vcpu`. All but `kick` belongs to the thread that runs it."""

    def __init__(self, vm: int, number: int, run_size: int) -> None:
        self.number = number
        self.native = ffi.new("struct ringlet_vcpu *")
        check(lib.ringlet_vcpu_create(vm, number, run_size, self.native), "create a vCPU")
        # A kick may come at any time, also while the vCPU is closed, and from a signal handler.
        self._lock = RLock()
        self._open = True
        # The fast way to run: takes what a pending read gives, returns one number.
        self.enter: Callable[[int], int] = partial(lib.ringlet_vcpu_run, self.native)

    def run(self, reply: int = 0) -> Exit:
        """Runs the guest to its next exit, a type of `ringlet.kvm.exits`.

        `reply` is the value that the guest's read gets, where the last exit was one.
        """
        return self.exit(self.enter(reply))

    def exit(self, code: int) -> Exit:
        """What `enter` returned, as one of the types of `ringlet.kvm.exits`."""
        from ringlet.kvm.exits import decode  # a short guest makes none that needs it

        return decode(self.native, code)

    def reply_string(self, data: bytes) -> None:
        """Gives the guest the `size * count` bytes that a `PortStringRead` asks for."""
        native = self.native
        if len(data) != native.size * native.count:
            raise ValueError(f"{len(data)} bytes for {native.count} reads of {native.size}")
        ffi.memmove(native.data, data, len(data))

    def kick(self) -> None:
        """Makes the run under way, or else the next, end as `Interrupted`.

        From any thread and any signal handler; after `close` it does nothing.
        """
        with self._lock:
            if self._open:
                check(lib.ringlet_vcpu_kick(self.native), "kick a vCPU")

    def tick(self, seconds: float) -> None:
        """Interrupts a run of this thread every so often; 0 ends that."""
        check(lib.ringlet_vcpu_tick(self.native, int(seconds * 1e9)), "set the tick")

    @property
    def exits(self) -> dict[str, int]:
        """How many exits there were of each kind, the ones that happened."""
        counts = zip(KIND_NAMES, self.native.exits, strict=True)
        return {name: count for name, count in counts if count}

    def get_state(self, state: int) -> bytes:
        """A structure of KVM's, by a RINGLET_STATE_ constant of the core."""
        buffer = ffi.new("char[]", check(lib.ringlet_vcpu_state_size(state), "size of a state"))
        check(lib.ringlet_vcpu_get_state(self.native, state, buffer, len(buffer)), "get a state")
        return bytes(ffi.buffer(buffer))

    def set_state(self, state: int, data: bytes) -> None:
        """The counterpart of `get_state`."""
        result = lib.ringlet_vcpu_set_state(self.native, state, ffi.from_buffer(data), len(data))
        check(result, "set a state")

    @property
    def registers(self) -> Registers:
        """The general registers."""
        return Registers.unpack(self.get_state(lib.RINGLET_STATE_REGS))

    @registers.setter
    def registers(self, registers: Registers) -> None:
        self.set_state(lib.RINGLET_STATE_REGS, registers.pack())

    @property
    def special_registers(self) -> SpecialRegisters:
        """Segments, tables and control registers."""
        return SpecialRegisters.unpack(self.get_state(lib.RINGLET_STATE_SREGS))

    @special_registers.setter
    def special_registers(self, registers: SpecialRegisters) -> None:
        self.set_state(lib.RINGLET_STATE_SREGS, registers.pack())

    @property
    def mp_state(self) -> int:
        """Runnable, halted, or waiting to be started: an MP_ constant of this module."""
        (state,) = struct.unpack("<I", self.get_state(lib.RINGLET_STATE_MP_STATE))
        return int(state)

    @mp_state.setter
    def mp_state(self, state: int) -> None:
        self.set_state(lib.RINGLET_STATE_MP_STATE, struct.pack("<I", state))

    @property
    def cpuid(self) -> bytes:
        """Struct kvm_cpuid_entry2, one after the other. Set once, before the first run."""
        entries = ffi.new("char[]", MAX_ENTRIES * ENTRY_SIZE)
        count = check(lib.ringlet_vcpu_get_cpuid(self.native, entries, MAX_ENTRIES), "get CPUID")
        return bytes(ffi.buffer(entries, count * ENTRY_SIZE))

    @cpuid.setter
    def cpuid(self, entries: bytes) -> None:
        count = len(entries) // ENTRY_SIZE
        check(lib.ringlet_vcpu_set_cpuid(self.native, ffi.from_buffer(entries), count), "set CPUID")

    def get_msrs(self, indices: Sequence[int]) -> list[int]:
        """The values of these MSRs, up to the first that KVM doesn't know."""
        values = ffi.new("uint64_t[]", len(indices))
        index = ffi.new("uint32_t[]", indices)
        count = lib.ringlet_vcpu_get_msrs(self.native, index, values, len(indices))
        return list(values[0 : check(count, "get MSRs")])

    def set_msrs(self, values: dict[int, int]) -> int:
        """Sets MSRs by their index, up to the first that KVM refuses; returns how many."""
        index = ffi.new("uint32_t[]", list(values))
        value = ffi.new("uint64_t[]", list(values.values()))
        count = lib.ringlet_vcpu_set_msrs(self.native, index, value, len(values))
        return check(count, "set MSRs")

    def translate(self, linear: int) -> int | None:
        """The guest-physical address of a linear one, None where nothing is mapped."""
        physical = ffi.new("uint64_t *")
        if lib.ringlet_vcpu_translate(self.native, linear, physical) < 0:
            return None
        return int(physical[0])

    def single_step(self, on: bool) -> None:
        """Makes each instruction end in a `Debug` exit."""
        check(lib.ringlet_vcpu_single_step(self.native, on), "single-step")

    def close(self) -> None:
        """Ends the vCPU, which may not be running. Again is harmless."""
        with self._lock:
            if self._open:
                self._open = False
                lib.ringlet_vcpu_destroy(self.native)
