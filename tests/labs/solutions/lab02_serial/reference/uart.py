"""The reference UART: a serial port with the registers of a 16550A."""

from collections import deque

# The registers: offsets from the first port.
RBR = 0  # read: the oldest byte received
THR = 0  # write: a byte to transmit
IER = 1  # which reasons for an interrupt count
IIR = 2  # read: the reason for an interrupt
FCR = 2  # write: FIFO control; this UART ignores it
LCR = 3  # the format of a byte, and DLAB
MCR = 4  # the modem's lines, and OUT2
LSR = 5  # the state of the line
MSR = 6  # the state of the modem
SCR = 7  # scratch: a byte without a meaning

IER_RECEIVED = 0x01  # an interrupt when a byte has come
IIR_NONE = 0x01  # no reason for an interrupt
IIR_RECEIVED = 0x04  # a byte has come
LCR_DLAB = 0x80  # offsets 0 and 1 are the divisor, which sets the speed
MCR_OUT2 = 0x08  # on a PC: the UART's interrupt reaches the interrupt controller
LSR_DR = 0x01  # data ready: RBR has a byte
LSR_THRE = 0x20  # THR takes a byte
LSR_TEMT = 0x40  # all bytes are sent


class Uart:
    """The device.

    transmit(byte)  sends a byte to the far end of the line
    set_irq(level)  sets the line to the interrupt controller
    """

    def __init__(self, transmit, set_irq):
        self.transmit = transmit
        self.set_irq = set_irq
        self.received = deque()
        self.divisor = bytearray(2)
        self.ier = self.lcr = self.mcr = self.scr = 0
        self.level = False

    def read(self, offset):
        """The guest reads the register at `offset`, 0 to 7. Returns its value."""
        if offset < 2 and self.lcr & LCR_DLAB:
            return self.divisor[offset]
        if offset == RBR:
            byte = self.received.popleft() if self.received else 0
            self.update()
            return byte
        if offset == IER:
            return self.ier
        if offset == IIR:
            return IIR_RECEIVED if self.has_reason() else IIR_NONE
        if offset == LCR:
            return self.lcr
        if offset == MCR:
            return self.mcr
        if offset == LSR:
            return LSR_TEMT | LSR_THRE | (LSR_DR if self.received else 0)
        if offset == SCR:
            return self.scr
        return 0

    def write(self, offset, value):
        """The guest writes `value` to the register at `offset`, 0 to 7."""
        if offset < 2 and self.lcr & LCR_DLAB:
            self.divisor[offset] = value
        elif offset == THR:
            self.transmit(value)
        elif offset == IER:
            self.ier = value & 0x0F
        elif offset == LCR:
            self.lcr = value
        elif offset == MCR:
            self.mcr = value & 0x1F
        elif offset == SCR:
            self.scr = value
        self.update()

    def receive(self, byte):
        """A byte has come from the far end."""
        self.received.append(byte)
        self.update()

    def has_reason(self):
        return bool(self.received and self.ier & IER_RECEIVED)

    def update(self):
        level = self.has_reason() and bool(self.mcr & MCR_OUT2)
        if level != self.level:
            self.level = level
            self.set_irq(level)
