"""The 16550A serial port.

Source: National Semiconductor PC16550D data sheet (June 1995), section 8, "Registers".

        DLAB = 0                       DLAB = 1
    0   RBR (read), THR (write)        DLL
    1   IER                            DLM
    2   IIR (read), FCR (write)
    3   LCR, bit 7 is DLAB
    4   MCR
    5   LSR
    6   MSR
    7   SCR

This UART differs from the chip on purpose:
- The line has no speed. A byte written to THR reaches the host before the write is over, so THR and
  the transmit FIFO are always empty. The UART stores the divisor and the frame in LCR (word length,
  parity, stop bits), but doesn't use them: many small kernels never set them.
- The character timeout, 4 character times on the chip, is over at once.
- On a PC's card, OUT2 enables the interrupt. OUT2 does nothing in this UART, as in QEMU, because
  small kernels forget to set it.
- The far end of the line is always connected: CTS, DSR and DCD are always asserted, and RI never
  is. Once the guest has set RTS, the far end sends nothing while RTS is off.
"""

from __future__ import annotations

from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.board.device import IrqLine

# Registers: one offset has several names, which depend on the direction and DLAB.
RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
THR, FCR, DLL, DLM = RBR, IIR, RBR, IER

IER_RX, IER_THRE, IER_LINE, IER_MODEM = 0x01, 0x02, 0x04, 0x08

IIR_NONE = 0x01
IIR_LINE, IIR_RX, IIR_TIMEOUT, IIR_THRE, IIR_MODEM = 0x06, 0x04, 0x0C, 0x02, 0x00
IIR_FIFO = 0xC0  # both bits: FIFOs enabled

FCR_ENABLE, FCR_CLEAR_RX, FCR_CLEAR_TX, FCR_TRIGGER = 0x01, 0x02, 0x04, 0xC0
TRIGGER_LEVELS = (1, 4, 8, 14)  # by FCR bits 7:6
FIFO_SIZE = 16

LCR_DLAB = 0x80

MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 0x01, 0x02, 0x04, 0x08, 0x10

LSR_DR, LSR_OE, LSR_PE, LSR_FE, LSR_BI = 0x01, 0x02, 0x04, 0x08, 0x10
LSR_THRE, LSR_TEMT, LSR_FIFO_ERROR = 0x20, 0x40, 0x80
LSR_CHARACTER_ERRORS = LSR_PE | LSR_FE | LSR_BI

MSR_DELTAS, MSR_TERI = 0x0F, 0x04
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80

# The names of the registers, by offset.
_READ_NAMES = ("RBR", "IER", "IIR", "LCR", "MCR", "LSR", "MSR", "SCR")
_WRITE_NAMES = ("THR", "IER", "FCR", *_READ_NAMES[3:])
_DIVISOR_NAMES = ("DLL", "DLM")

_BYTES = tuple(bytes((value,)) for value in range(256))


class UartState:
    """The values of the UART that change; the constructor sets the values after a reset."""

    __slots__ = (
        "divisor",
        "fcr",
        "gate",
        "ier",
        "irq",
        "lcr",
        "lsr",
        "mcr",
        "msr",
        "rx",
        "scr",
        "thre_pending",
    )

    def __init__(self) -> None:
        self.ier = 0
        self.fcr = 0  # the bits that are stored: FCR_ENABLE and FCR_TRIGGER, 0 if not enabled
        self.lcr = 0
        self.mcr = 0
        self.lsr = 0  # the error bits, OE to BI; the other bits follow from the values below
        self.msr = MSR_CTS | MSR_DSR | MSR_DCD
        # The MCR bits that must be on before the far end sends. RTS becomes one of them when the
        # guest first sets RTS, so that a guest that never sets RTS receives input, too.
        self.gate = 0
        self.scr = 0
        self.divisor = 12  # 9600 baud
        # The receive FIFO; RBR is its first entry. Bits 7:0 of an entry are the character. The bits
        # above are the character's LSR errors, which LSR shows once the character is the first.
        self.rx: list[int] = []
        self.thre_pending = False  # THR became empty; only set while IER_THRE is on
        self.irq = False  # the level of the IRQ line


class Uart16550:
    """A 16550A UART, which calls `transmit` with each byte that the guest sends.

    `transmit` may block: the UART calls it on the vCPU's thread and holds no lock. `write` raises
    any exception that `transmit` raises.
    """

    def __init__(self, irq: IrqLine, transmit: Callable[[bytes], object]) -> None:
        self.state = UartState()
        # The UART calls `on_room`, and holds no lock, when `room` changes from 0 to more.
        self.on_room: Callable[[], None] = lambda: None
        self._irq = irq
        self.transmit = transmit
        # If not None, takes the bytes that the guest sends while the interrupt is off: often a log.
        self.transmit_polled: Callable[[bytes], object] | None = None
        self._lock = Lock()  # guards `state` and the IRQ line

    # The host's side.

    @property
    def room(self) -> int:
        """How many bytes `receive` would take now.

        This is 0 in loopback mode, which disconnects the line, and while RTS is off.
        """
        state = self.state
        if state.mcr & MCR_LOOP or state.gate & ~state.mcr:
            return 0
        return self._capacity() - len(state.rx)

    def receive(self, data: bytes) -> int:
        """Receives as many bytes of `data` as there is room for; returns how many."""
        with self._lock:
            taken = min(self.room, len(data))
            self.state.rx.extend(data[:taken])
            self._update_irq()
        return taken

    def receive_break(self) -> None:
        """Receives a break: a zero byte with LSR_BI. Without room, this is an overrun error."""
        with self._lock:
            if not self.state.mcr & MCR_LOOP:
                self._push(LSR_BI << 8)
                self._update_irq()

    # The guest's side.

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register, which depends on the direction and DLAB."""
        if offset < len(_DIVISOR_NAMES) and self.state.lcr & LCR_DLAB:
            return _DIVISOR_NAMES[offset]
        return (_WRITE_NAMES if write else _READ_NAMES)[offset]

    def read(self, offset: int, size: int) -> int:
        """Reads `size` registers from `offset` on: an ISA bus splits a wider access into bytes."""
        state = self.state
        if size != 1:
            return sum(self.read(offset + i, 1) << 8 * i for i in range(size))
        if offset == LSR:
            return self._read_lsr()
        if offset == RBR:
            return state.divisor & 0xFF if state.lcr & LCR_DLAB else self._read_rbr()
        if offset == IER:
            return state.divisor >> 8 if state.lcr & LCR_DLAB else state.ier
        if offset == IIR:
            return self._read_iir()
        if offset == LCR:
            return state.lcr
        if offset == MCR:
            return state.mcr
        if offset == MSR:
            return self._read_msr()
        if offset == SCR:
            return state.scr
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes `size` registers from `offset` on, lowest first; raises what `transmit` raises."""
        # Reading a value that only the guest changes needs no lock, nor does writing SCR.
        state = self.state
        if size != 1:
            for i in range(size):
                self.write(offset + i, 1, value >> 8 * i & 0xFF)
        elif offset == SCR:
            state.scr = value
        elif offset == THR:
            if state.lcr & LCR_DLAB:
                state.divisor = state.divisor & 0xFF00 | value
            elif state.mcr & MCR_LOOP or state.ier & IER_THRE:
                self._write_thr(value)
            else:  # polled output: nothing else changes
                (self.transmit_polled or self.transmit)(_BYTES[value])
        elif offset == IER:
            if state.lcr & LCR_DLAB:
                state.divisor = value << 8 | state.divisor & 0xFF
            else:
                self._write_ier(value)
        elif offset == FCR:
            self._write_fcr(value)
        elif offset == LCR:
            state.lcr = value
        elif offset == MCR:
            self._write_mcr(value)
        # LSR and MSR are read-only. The data sheet allows writes to LSR for factory tests alone.

    def _read_rbr(self) -> int:
        state = self.state
        with self._lock:
            if not state.rx:
                return 0
            full = self.room == 0
            character = state.rx.pop(0) & 0xFF
            if state.rx:
                state.lsr |= state.rx[0] >> 8
            self._update_irq()
            gained = full and self.room > 0
        if gained:
            self.on_room()
        return character

    def _write_thr(self, value: int) -> None:
        state = self.state
        with self._lock:
            state.thre_pending = False
            self._update_irq()  # lowers the line, so that the next interrupt is a new edge
            loop = state.mcr & MCR_LOOP
            if loop:
                self._push(value)
        if not loop:
            self.transmit(_BYTES[value])
        with self._lock:
            state.thre_pending = state.ier & IER_THRE != 0
            self._update_irq()

    def _write_ier(self, value: int) -> None:
        state = self.state
        with self._lock:
            enabled = value & ~state.ier
            state.ier = value & 0x0F
            if enabled & IER_THRE:
                state.thre_pending = True  # THR is empty already
            elif not value & IER_THRE:
                state.thre_pending = False
            self._update_irq()

    def _read_iir(self) -> int:
        with self._lock:
            source = self._interrupt()
            if source == IIR_THRE:
                self.state.thre_pending = False
                self._update_irq()
            return source | (IIR_FIFO if self.state.fcr & FCR_ENABLE else 0)

    def _write_fcr(self, value: int) -> None:
        # The transmit FIFO is always empty, so clearing it does nothing. DMA mode (bit 3) drives
        # pins that no PC uses.
        state = self.state
        with self._lock:
            before = self.room
            # A write that doesn't enable the FIFOs changes no other bits.
            fcr = value & (FCR_ENABLE | FCR_TRIGGER) if value & FCR_ENABLE else 0
            switched = (fcr ^ state.fcr) & FCR_ENABLE
            state.fcr = fcr
            if switched or (fcr and value & FCR_CLEAR_RX):
                state.rx.clear()
            self._update_irq()
            gained = before == 0 and self.room > 0
        if gained:
            self.on_room()

    def _write_mcr(self, value: int) -> None:
        state = self.state
        with self._lock:
            before = self.room
            state.mcr = value & 0x1F
            if not value & MCR_LOOP:
                state.gate |= value & MCR_RTS
            lines = MSR_CTS | MSR_DSR | MSR_DCD
            if value & MCR_LOOP:
                lines = (
                    (MSR_CTS if value & MCR_RTS else 0)
                    | (MSR_DSR if value & MCR_DTR else 0)
                    | (MSR_RI if value & MCR_OUT1 else 0)
                    | (MSR_DCD if value & MCR_OUT2 else 0)
                )
            deltas = (state.msr ^ lines) >> 4
            if lines & MSR_RI:
                deltas &= ~MSR_TERI  # only the trailing edge of RI counts
            state.msr = lines | state.msr & MSR_DELTAS | deltas
            self._update_irq()
            gained = before == 0 and self.room > 0
        if gained:
            self.on_room()

    def _read_lsr(self) -> int:
        state = self.state
        # Guests poll LSR, so this must be fast. Without an error and without received bytes, a read
        # clears nothing and needs no lock.
        if not state.rx and not state.lsr:
            return LSR_TEMT | LSR_THRE
        with self._lock:
            lsr = LSR_TEMT | LSR_THRE | state.lsr
            if state.rx:
                lsr |= LSR_DR
            if state.fcr & FCR_ENABLE and (
                state.lsr & LSR_CHARACTER_ERRORS or any(entry >> 8 for entry in state.rx)
            ):
                lsr |= LSR_FIFO_ERROR
            state.lsr = 0
            if state.rx:
                state.rx[0] &= 0xFF
            self._update_irq()
            return lsr

    def _read_msr(self) -> int:
        state = self.state
        with self._lock:
            msr = state.msr
            state.msr &= ~MSR_DELTAS
            self._update_irq()
            return msr

    # The caller of these methods holds the lock.

    def _capacity(self) -> int:
        return FIFO_SIZE if self.state.fcr & FCR_ENABLE else 1

    def _push(self, entry: int) -> None:
        """Moves a character from the receive shift register to the FIFO."""
        state = self.state
        if len(state.rx) == self._capacity():
            state.lsr |= LSR_OE
            if state.fcr & FCR_ENABLE:
                return  # a full FIFO keeps its characters; without FIFOs, RBR is overwritten
            state.rx.clear()
        state.rx.append(entry)
        if len(state.rx) == 1:
            state.lsr |= entry >> 8

    def _interrupt(self) -> int:
        """Returns the IIR value of the pending interrupt of the highest priority."""
        state = self.state
        ier = state.ier
        if ier & IER_LINE and state.lsr:
            return IIR_LINE
        if ier & IER_RX and state.rx:
            if state.fcr and len(state.rx) < TRIGGER_LEVELS[state.fcr >> 6]:
                return IIR_TIMEOUT
            return IIR_RX
        if state.thre_pending:
            return IIR_THRE
        if ier & IER_MODEM and state.msr & MSR_DELTAS:
            return IIR_MODEM
        return IIR_NONE

    def _update_irq(self) -> None:
        level = self._interrupt() != IIR_NONE
        if level != self.state.irq:
            self.state.irq = level
            self._irq.set(level)
