"""The guests of lab 2: 16-bit code, made for this run.

Source: Intel SDM volume 2 (opcodes); PC16550D data sheet, section 8; 8259A data sheet,
"Initialization Command Words".
"""

from __future__ import annotations

import secrets

LOAD = 0x1000
COM1 = 0x3F8
RBR, IER, IIR, LCR, MCR, LSR, SCR = 0, 1, 2, 3, 4, 5, 7
THR, DR, THRE, OUT2 = 0, 0x01, 0x20, 0x08
_COUNTER = 0x600  # a byte of memory: how many interrupts came
_RESULTS = 0x700  # a tag, and then what the guest stores
_TAG, _DONE, _SIZE = 16, 31, 32  # offsets from _RESULTS, and the size of both


class Code:
    """A guest's code, an instruction after another. AL and DX are for the instructions' own use."""

    def __init__(self) -> None:
        self.tag = secrets.token_bytes(_TAG)
        self._code = bytearray()
        self._stored = 0

    def add(self, code: bytes) -> None:
        """Adds instructions."""
        self._code += code

    def read(self, register: int) -> None:
        """AL = a register of the UART."""
        self.add(_dx(COM1 + register) + b"\xec")  # in al, dx

    def write(self, register: int, value: int) -> None:
        """Writes a value to a register of the UART."""
        self.add(_dx(COM1 + register) + b"\xb0%c\xee" % value)  # mov al, value; out dx, al

    def print_al(self, add: int = 0) -> None:
        """Waits until the UART takes a byte, and writes AL + add to it."""
        self.add(b"\x04%c\x88\xc4" % add)  # add al, ADD; mov ah, al
        self.wait_for_room()
        self.add(b"\x88\xe0" + _dx(COM1 + THR) + b"\xee")  # mov al, ah; out dx, al

    def wait_for_byte(self) -> None:
        """Waits until a byte has come."""
        self.add(_dx(COM1 + LSR) + b"\xec\xa8%c\x74\xfb" % DR)  # in al, dx; test al, DR; jz to in

    def wait_for_room(self) -> None:
        """Waits until the UART takes a byte; ends the run if this takes long."""
        # mov cx, 10000; again: in al, dx; test al, THRE; loopz again; jnz to what follows
        self.add(_dx(COM1 + LSR) + b"\xb9" + (10000).to_bytes(2, "little"))
        self.add(b"\xec\xa8%c\xe1\xfb\x75\x04" % THRE)
        self.finish(1)

    def delay(self, reads: int = 300) -> None:
        """Reads a register for a while, so that the VMM's other thread comes to work."""
        self.add(_dx(COM1 + SCR) + b"\xb9" + reads.to_bytes(2, "little") + b"\xec\xe2\xfd")

    def store(self) -> None:
        """Stores AL as the next result."""
        at = LOAD + _RESULTS + _TAG + self._stored
        self._stored += 1
        self.add(b"\xa2" + at.to_bytes(2, "little"))

    def load_counter(self) -> None:
        """AL = how many interrupts came."""
        self.add(b"\xa0" + (LOAD + _COUNTER).to_bytes(2, "little"))

    def let_interrupts_in(self) -> None:
        """Sets the interrupt controller up; each interrupt goes to the handler.

        The UART's line has to be low: the set-up forgets an edge that was before.
        """
        handler = (LOAD + 0x400).to_bytes(2, "little")
        # mov word [0x30], handler; mov word [0x32], 0: vector 0x0c
        self.add(b"\xc7\x06\x30\x00" + handler + b"\xc7\x06\x32\x00\x00\x00")
        for port, value in ((0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xEF)):
            self.add(b"\xb0%c\xe6%c" % (value, port))
        self.add(b"\xfb")  # sti

    def finish(self, status: int = 0) -> None:
        """Ends the run."""
        self.add(b"\xb0%c\xe6\xf4" % status)

    def stay(self) -> None:
        """Says that all results are stored, and runs until the VMM is killed."""
        done = (LOAD + _RESULTS + _DONE).to_bytes(2, "little")
        self.add(b"\xc6\x06" + done + b"\x01" + b"\xeb\xfe")  # mov byte [done], 1; jmp to itself

    def image(self, handler: bytes = b"") -> bytes:
        """Returns the guest; `handler` handles an interrupt, and counts it."""
        if handler:
            # inc byte [counter]; push ax; push dx; ...; end of interrupt; pop dx; pop ax; iret
            counter = (LOAD + _COUNTER).to_bytes(2, "little")
            handler = b"\xfe\x06" + counter + b"\x50\x52" + handler
            handler += b"\xb0\x20\xe6\x20\x5a\x58\xcf"
        assert len(self._code) <= 0x400
        assert len(handler) <= 0x200
        return bytes(
            self._code.ljust(0x400, b"\x90")
            + handler.ljust(_RESULTS - 0x400, b"\0")
            + self.tag
            + bytes(_SIZE - _TAG)
        )


def _dx(port: int) -> bytes:
    return b"\xba" + port.to_bytes(2, "little")  # mov dx, port


def results(memory: bytes) -> bytes | None:
    """Returns what a guest has stored, of memory from its tag on; None if it hasn't finished."""
    if len(memory) < _SIZE or not memory[_DONE]:
        return None
    return memory[_TAG:_DONE]
