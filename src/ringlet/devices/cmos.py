"""The real-time clock and CMOS RAM of a PC: the time of day and the size of memory.

Source: Motorola MC146818A data sheet, "Address Map" and "Registers"; IBM PC/AT Technical
Reference (1984), "Real-Time Clock/CMOS RAM Information", for the CMOS RAM after the clock.

Port 0 takes the number of a register (bit 7, the NMI mask, does nothing), and port 1 is that
register. The time is the host's time in UTC. If the guest sets the time, the device keeps the
difference to the host's time. The device differs from the chip on purpose:
- There are no interrupts: alarm, periodic and update interrupts never come, and register C is 0.
- On the chip, the time stays the same for 244 us after UIP was read as 0. Each access of a guest is
  an exit, so a guest may need longer than that. In this device, the time stays the same for 100 ms.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR = 0, 2, 4, 6, 7, 8, 9
A, B, C, D = 0xA, 0xB, 0xC, 0xD
BASE_MEMORY, EXTENDED_MEMORY, EXTENDED_MEMORY_2, MEMORY_16M, MEMORY_4G = (
    0x15,
    0x17,
    0x30,
    0x34,
    0x5B,
)
CENTURY = 0x32  # the FADT names this register

A_UIP = 0x80
A_RESET = 0x26  # 32,768 Hz, interrupts at 1,024 Hz
B_SET, B_BINARY, B_24H = 0x80, 0x04, 0x02
D_VALID = 0x80  # the battery has never been empty
HOURS_PM = 0x80  # in 12-hour mode

REGISTERS = 128
_KIB, _MIB = 1 << 10, 1 << 20
_UPDATE = 244e-6 + 1984e-6  # UIP is 1 for this many seconds before the next second
_STEADY = 0.1  # the time stays the same for this many seconds after UIP was read as 0
_NEVER = -1e18

_TIME = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)


class CmosState:
    """The values of the clock and the CMOS RAM that change."""

    __slots__ = ("index", "latched", "latched_at", "offset", "ram")

    def __init__(self) -> None:
        self.index = 0
        self.offset = 0.0  # the guest's time minus the host's, in seconds
        # The registers. While B_SET stops the clock, the time registers hold the guest's values.
        self.ram = bytearray(REGISTERS)
        # The guest's and the host's time when UIP was last read as 0.
        self.latched = 0.0
        self.latched_at = _NEVER


class Cmos:
    """The index port and the data port of the real-time clock and CMOS RAM.

    `low_memory` and `high_memory` are the bytes of RAM below and above 4 GiB. `now` returns the
    time of day in seconds since 1970, in UTC.
    """

    def __init__(
        self, low_memory: int, high_memory: int = 0, now: Callable[[], float] = time.time
    ) -> None:
        self.state = CmosState()
        self._now = now
        ram = self.state.ram
        ram[A], ram[B], ram[D] = A_RESET, B_24H, D_VALID

        def store(register: int, size: int, amount: int) -> None:
            amount = max(0, min(amount, (1 << 8 * size) - 1))
            ram[register : register + size] = amount.to_bytes(size, "little")

        store(BASE_MEMORY, 2, min(low_memory // _KIB, 640))
        store(EXTENDED_MEMORY, 2, (low_memory - _MIB) // _KIB)
        store(EXTENDED_MEMORY_2, 2, (low_memory - _MIB) // _KIB)
        store(MEMORY_16M, 2, (low_memory - 16 * _MIB) // (64 * _KIB))
        store(MEMORY_4G, 3, high_memory // (64 * _KIB))

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register, for the data port with the index that is selected."""
        return f"DATA[{self.state.index:#04x}]" if offset else "INDEX"

    def read(self, offset: int, size: int) -> int:
        """Returns the selected register at port 1; port 0 can only be written."""
        if offset == 0 or size != 1:
            return (1 << 8 * size) - 1
        state = self.state
        register = state.index
        if register == A:
            return state.ram[A] | self._update_in_progress()
        if register in _TIME and not state.ram[B] & B_SET:
            return self._registers()[register]
        return state.ram[register]

    def write(self, offset: int, size: int, value: int) -> None:
        """Selects a register at port 0, and writes the selected register at port 1."""
        state = self.state
        if size != 1:  # an ISA bus splits a wider access in the same way
            for i in range(min(size, 2 - offset)):
                self.write(offset + i, 1, value >> 8 * i & 0xFF)
        elif offset == 0:
            state.index = value & (REGISTERS - 1)
        elif state.index == A:
            state.ram[A] = value & ~A_UIP
        elif state.index == B:
            self._write_b(value)
        elif state.index in _TIME and not state.ram[B] & B_SET:
            self._set_time({**self._registers(), state.index: value})
        elif state.index not in (C, D):
            state.ram[state.index] = value

    def _write_b(self, value: int) -> None:
        state = self.state
        stopped, stops = state.ram[B] & B_SET, value & B_SET
        if stops and not stopped:
            for register, content in self._registers().items():
                state.ram[register] = content
        # The format bits in this write apply to the time registers that were written before.
        state.ram[B] = value
        if stopped and not stops:
            self._set_time({register: state.ram[register] for register in _TIME})

    def _update_in_progress(self) -> int:
        """Returns UIP. If UIP is 0, the time that the guest reads stays the same for a while."""
        state = self.state
        now = self._now()
        guest = now + state.offset
        if state.ram[B] & B_SET:
            return 0
        if guest % 1 > 1 - _UPDATE:
            return A_UIP
        state.latched, state.latched_at = guest, now
        return 0

    def _registers(self) -> dict[int, int]:
        """Returns the time registers, in the format that register B selects."""
        state = self.state
        now = self._now()
        steady = 0 <= now - state.latched_at < _STEADY  # negative if the host's clock was set back
        t = time.gmtime(state.latched if steady else now + state.offset)
        encode = self._encode
        hours = encode(t.tm_hour)
        if not state.ram[B] & B_24H:
            hours = encode((t.tm_hour + 11) % 12 + 1) | (HOURS_PM if t.tm_hour >= 12 else 0)
        return {
            SECONDS: encode(t.tm_sec),
            MINUTES: encode(t.tm_min),
            HOURS: hours,
            WEEKDAY: encode((t.tm_wday + 1) % 7 + 1),  # Sunday is 1
            DAY: encode(t.tm_mday),
            MONTH: encode(t.tm_mon),
            YEAR: encode(t.tm_year % 100),
            CENTURY: encode(t.tm_year // 100 % 100),
        }

    def _set_time(self, registers: dict[int, int]) -> None:
        """Sets the guest's time from these registers, unless the month is invalid.

        The weekday follows from the date.
        """
        from calendar import timegm  # noqa: PLC0415 (few guests set the clock)

        decode = self._decode
        hours = decode(registers[HOURS])
        if not self.state.ram[B] & B_24H:
            pm = registers[HOURS] & HOURS_PM
            hours = decode(registers[HOURS] & ~HOURS_PM) % 12 + (12 if pm else 0)
        year = decode(registers[CENTURY]) * 100 + decode(registers[YEAR])
        day, minutes, seconds = (decode(registers[r]) for r in (DAY, MINUTES, SECONDS))
        try:
            guest = timegm((year, decode(registers[MONTH]), day, hours, minutes, seconds))
        except ValueError:
            return
        self.state.offset = guest - self._now()
        self.state.latched_at = _NEVER

    def _encode(self, value: int) -> int:
        return value if self.state.ram[B] & B_BINARY else value // 10 << 4 | value % 10

    def _decode(self, value: int) -> int:
        return value if self.state.ram[B] & B_BINARY else (value >> 4) * 10 + (value & 0xF)
