"""The packets of GDB's remote protocol: how bytes become packets, and packets become bytes.

A packet is `$DATA#CC`; CC is the sum of DATA's bytes modulo 256, as two hexadecimal digits. The
receiver answers `+`, or `-` to get the packet again, until both sides agree on QStartNoAckMode. A
byte 0x03 outside a packet asks for a stop.

Source: GDB's manual, appendix E.1 ("Overview" of the remote protocol) and E.10 ("Interrupts").
"""

from __future__ import annotations

from enum import Enum

MAX_PACKET = 0x4000  # bytes of DATA; what the server tells GDB as PacketSize

_START, _END, _ESCAPE, _RUN = b"$#}*"
_INTERRUPT = 0x03
_ACK, _NACK = b"+-"
_SPECIAL = frozenset(b"$#}*")
# The number of repetitions, plus 29, is one printable character, and none that means something.
_RUN_BASE = 29
_RUN_MIN, _RUN_MAX = 3, 97
_NO_RUNS = {count for count in range(98) if count + _RUN_BASE in b"#$+-}*"}


class Signal(Enum):
    """What comes from GDB beside packets, and what is wrong with a packet."""

    INTERRUPT = "interrupt"
    ACK = "ack"
    NACK = "nack"
    DAMAGED = "damaged"  # a wrong checksum: GDB sends the packet again
    TOO_LONG = "too long"


class PacketReader:
    """Finds the packets in a stream of bytes. Keeps at most MAX_PACKET bytes of a packet."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._digits = b""
        self._state = self._outside
        self._too_long = False
        self._found: list[bytes | Signal] = []

    def feed(self, data: bytes) -> list[bytes | Signal]:
        """Returns the DATA of each packet that `data` completes, and signals, in their order.

        Escapes stay, since only binary packets have them: see `unescape`.
        """
        for byte in data:
            self._state(byte)
        found, self._found = self._found, []
        return found

    def _outside(self, byte: int) -> None:
        if byte == _START:
            self._begin()
        elif byte == _INTERRUPT:
            self._found.append(Signal.INTERRUPT)
        elif byte == _ACK:
            self._found.append(Signal.ACK)
        elif byte == _NACK:
            self._found.append(Signal.NACK)

    def _begin(self) -> None:
        self._data.clear()
        self._too_long = False
        self._state = self._inside

    def _inside(self, byte: int) -> None:
        if byte == _END:
            self._digits = b""
            self._state = self._checksum
        elif byte == _START:  # a packet that was broken off
            self._begin()
        elif len(self._data) < MAX_PACKET:
            self._data.append(byte)
        else:
            self._too_long = True

    def _checksum(self, byte: int) -> None:
        self._digits += bytes([byte])
        if len(self._digits) < 2:
            return
        self._state = self._outside
        if self._too_long:
            self._found.append(Signal.TOO_LONG)
        elif self._digits.lower() == b"%02x" % (sum(self._data) & 0xFF):
            self._found.append(bytes(self._data))
        else:
            self._found.append(Signal.DAMAGED)


def frame(data: bytes) -> bytes:
    """Returns the packet for the wire: long runs shortened, with the checksum."""
    body = _shorten(data)
    return b"$%b#%02x" % (body, sum(body) & 0xFF)


def _shorten(data: bytes) -> bytes:
    """Replaces runs of the same byte by the byte, `*` and the number of repetitions."""
    if len(data) < 8:
        return data
    out = bytearray()
    at = 0
    while at < len(data):
        byte = data[at]
        more = 0
        while more < _RUN_MAX and at + more + 1 < len(data) and data[at + more + 1] == byte:
            more += 1
        while more in _NO_RUNS:
            more -= 1
        out.append(byte)
        if more >= _RUN_MIN and byte not in _SPECIAL and out[-2:-1] != b"}":
            out += bytes([_RUN, more + _RUN_BASE])
            at += more
        at += 1
    return bytes(out)


def escape(data: bytes) -> bytes:
    """Returns binary data as it may stand in a packet."""
    out = bytearray()
    for byte in data:
        out += bytes([_ESCAPE, byte ^ 0x20]) if byte in _SPECIAL else bytes([byte])
    return bytes(out)


def unescape(data: bytes) -> bytes:
    """Returns the binary data of a packet; a `}` at the end is dropped."""
    first, *rest = data.split(b"}")
    return first + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in rest if part)
