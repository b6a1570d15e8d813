"""A vCPU: runs the guest, and reads and sets the registers.

Source: Linux, Documentation/virt/kvm/api.rst, 4 ("vcpu ioctl") and 5 (kvm_run).
"""

from __future__ import annotations

import errno
import struct
from functools import partial
from threading import RLock

from ringlet.closing import Closing
from ringlet.kvm.core import KvmError, check, ffi, lib
from ringlet.kvm.cpuid import ENTRY_SIZE, MAX_ENTRIES
from ringlet.kvm.registers import DebugRegisters, Registers, SpecialRegisters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.kvm.exits import Exit

# KVM_GET_MP_STATE on x86.
MP_RUNNABLE = 0
MP_UNINITIALIZED = 1
MP_INIT_RECEIVED = 2
MP_HALTED = 3

# KVM_SET_GUEST_DEBUG: the bits of KVM_GUESTDBG_.
DEBUG_ENABLE = 1 << 0
DEBUG_STEP = 1 << 1
DEBUG_SOFTWARE = 1 << 16  # `int3` ends in a `Debug` exit
DEBUG_HARDWARE = 1 << 17  # the debug registers given are used
DEBUG_INJECT_DB = 1 << 18  # gives the guest a debug exception, or a breakpoint exception
DEBUG_INJECT_BP = 1 << 19
DEBUG_BLOCK_INTERRUPTS = 1 << 20  # no interrupt comes between two steps
KVM_CAP_SYNC_REGS = 74

# The number that `enter` returns: see ringlet_vcpu_run in csrc/core/ringlet.h.
KIND_SHIFT = 56
KEY_SHIFT = 32  # the bits above are the key of the access: kind, write, size, port
KEY_WRITE = 1 << 19
KEY_SIZE_SHIFT = 16
KEY_SIZE = 7 << KEY_SIZE_SHIFT
VALUE_MASK = 0xFFFF_FFFF


# The names of enum ringlet_exit_kind, in its order.
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
    """A vCPU, made by `Vm.create_vcpu`. Only the thread that runs it may use it, except `kick`."""

    def __init__(self, vm: int, number: int, run_size: int) -> None:
        self.number = number
        self._vm = vm
        self.native = ffi.new("struct ringlet_vcpu *")
        check(lib.ringlet_vcpu_create(vm, number, run_size, self.native), "create a vCPU")
        # A kick may come at any time, also from a signal handler and during `close`.
        self._lock = RLock()
        self._open = True
        # The fast way to run: takes the value for a pending read, and returns one number.
        self.enter: Callable[[int], int] = partial(lib.ringlet_vcpu_run, self.native)

    def run(self, reply: int = 0) -> Exit:
        """Runs the guest to its next exit, a type of `ringlet.kvm.exits`.

        `reply` is the value for the guest's read, if the last exit was a read.
        """
        return self.exit(self.enter(reply))

    def exit(self, code: int) -> Exit:
        """Returns the exit for the number `code` of `enter`, as a type of `ringlet.kvm.exits`."""
        from ringlet.kvm.exits import decode  # a short guest has no exit that needs this module

        return decode(self.native, code)

    def reply_string(self, data: bytes) -> None:
        """Gives the guest the `size * count` bytes that a `PortStringRead` asks for."""
        native = self.native
        if len(data) != native.size * native.count:
            raise ValueError(f"{len(data)} bytes for {native.count} reads of {native.size}")
        ffi.memmove(native.data, data, len(data))

    def kick(self) -> None:
        """Ends the run under way, or else the next run, as `Interrupted`.

        Any thread and any signal handler may call this; after `close`, it does nothing.
        """
        with self._lock:
            if self._open:
                check(lib.ringlet_vcpu_kick(self.native), "kick a vCPU")

    def tick(self, seconds: float) -> None:
        """Interrupts the runs of this thread every `seconds` seconds; 0 turns this off."""
        check(lib.ringlet_vcpu_tick(self.native, int(seconds * 1e9)), "set the tick")

    @property
    def exits(self) -> dict[str, int]:
        """The number of exits of each kind that happened."""
        counts = zip(KIND_NAMES, self.native.exits, strict=True)
        return {name: count for name, count in counts if count}

    def get_state(self, state: int) -> bytes:
        """Returns the structure of KVM that a RINGLET_STATE_ constant of the core names."""
        buffer = ffi.new("char[]", check(lib.ringlet_vcpu_state_size(state), "size of a state"))
        check(lib.ringlet_vcpu_get_state(self.native, state, buffer, len(buffer)), "get a state")
        return bytes(ffi.buffer(buffer))

    def set_state(self, state: int, data: bytes) -> None:
        """Sets the structure of KVM that a RINGLET_STATE_ constant of the core names."""
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
    def debug_registers(self) -> DebugRegisters:
        """The guest's own debug registers, in place of which `guest_debug` may put others."""
        return DebugRegisters.unpack(self.get_state(lib.RINGLET_STATE_DEBUGREGS))

    @debug_registers.setter
    def debug_registers(self, registers: DebugRegisters) -> None:
        self.set_state(lib.RINGLET_STATE_DEBUGREGS, registers.pack())

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
        """An array of struct kvm_cpuid_entry2, to be set once, before the first run."""
        entries = ffi.new("char[]", MAX_ENTRIES * ENTRY_SIZE)
        count = check(lib.ringlet_vcpu_get_cpuid(self.native, entries, MAX_ENTRIES), "get CPUID")
        return bytes(ffi.buffer(entries, count * ENTRY_SIZE))

    @cpuid.setter
    def cpuid(self, entries: bytes) -> None:
        count = len(entries) // ENTRY_SIZE
        check(lib.ringlet_vcpu_set_cpuid(self.native, ffi.from_buffer(entries), count), "set CPUID")

    def get_msrs(self, indices: Sequence[int]) -> list[int]:
        """Returns the values of these MSRs, up to the first MSR that KVM doesn't know."""
        values = ffi.new("uint64_t[]", len(indices))
        index = ffi.new("uint32_t[]", indices)
        count = lib.ringlet_vcpu_get_msrs(self.native, index, values, len(indices))
        return list(values[0 : check(count, "get MSRs")])

    def set_msrs(self, values: dict[int, int]) -> int:
        """Sets MSRs by index, up to the first MSR that KVM refuses; returns how many it set."""
        index = ffi.new("uint32_t[]", list(values))
        value = ffi.new("uint64_t[]", list(values.values()))
        count = lib.ringlet_vcpu_set_msrs(self.native, index, value, len(values))
        return check(count, "set MSRs")

    def translate(self, linear: int) -> int | None:
        """Returns the guest-physical address of a linear address; None if it isn't mapped."""
        physical = ffi.new("uint64_t *")
        if lib.ringlet_vcpu_translate(self.native, linear, physical) < 0:
            return None
        return int(physical[0])

    def guest_debug(self, control: int, debug_registers: Sequence[int] = (0,) * 8) -> None:
        """Sets how the guest is debugged: DEBUG_ bits of this module, and DR0 to DR7.

        With DEBUG_HARDWARE, `debug_registers` act in place of the guest's own.
        """
        result = lib.ringlet_vcpu_guest_debug(self.native, control, list(debug_registers))
        check(result, "debug a guest")

    def share_registers(self) -> memoryview | None:
        """Returns a view of the registers, which KVM fills with each exit from now on.

        The view holds a struct kvm_regs, then a struct kvm_sregs (kvm/registers.py). To look at the
        view is much faster than to ask KVM. Don't use the view after `close`. Returns None if this
        KVM can't share registers. Raises `KvmError` if the vCPU is closed.
        """
        if not self._open:
            raise KvmError("share registers", errno.EBADF)
        if not check(lib.ringlet_check_extension(self._vm, KVM_CAP_SYNC_REGS), "share registers"):
            return None
        size = sum(
            map(lib.ringlet_vcpu_state_size, (lib.RINGLET_STATE_REGS, lib.RINGLET_STATE_SREGS))
        )
        return memoryview(ffi.buffer(lib.ringlet_vcpu_share_registers(self.native), size))

    def single_step(self, on: bool) -> None:
        """Turns single-stepping on or off: each instruction ends in a `Debug` exit."""
        self.guest_debug(DEBUG_ENABLE | DEBUG_STEP if on else 0)

    def close(self) -> None:
        """Closes the vCPU, which must not be running. A second call does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                lib.ringlet_vcpu_destroy(self.native)
