"""My UART: a serial port with the registers of a 16550A."""

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

    def read(self, offset):
        """The guest reads the register at `offset`, 0 to 7. Returns its value."""
        return 0

    def write(self, offset, value):
        """The guest writes `value` to the register at `offset`, 0 to 7."""

    def receive(self, byte):
        """A byte has come from the far end."""
