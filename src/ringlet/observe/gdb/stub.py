"""One client of the GDB server: answers the packets of GDB's remote protocol.

A session has no socket: `answer` takes a packet's data and returns the reply's, or None while the
guest runs; then the server calls `stopped` once the guest has stopped. GDB's threads are the vCPUs:
thread 1 is vCPU 0.

Source: GDB's manual, appendix E.2 to E.5 ("Packets", "Stop Reply Packets", "General Query
Packets").
"""

from __future__ import annotations

from ringlet.errors import RingletError
from ringlet.kvm.vcpu import MP_HALTED, MP_INIT_RECEIVED, MP_UNINITIALIZED
from ringlet.observe.debug.debug_registers import ACCESS
from ringlet.observe.debug.stop import BREAKPOINT, CRASH, END, INTERRUPT, WATCHPOINT
from ringlet.observe.gdb.monitor import monitor
from ringlet.observe.gdb.packets import MAX_PACKET, escape, unescape
from ringlet.observe.gdb.target import REGISTERS, description, read_registers, write_registers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.kvm.vcpu import Vcpu
    from ringlet.observe.debug.debugger import Debugger
    from ringlet.observe.debug.stop import Stop

_OK = b"OK"
_UNKNOWN = b""  # a packet that this server doesn't have
_BAD = b"E16"  # EINVAL: the packet makes no sense
_FAULT = b"E0e"  # EFAULT: no memory is there
_REFUSED = b"E01"
_SIGINT, _SIGTRAP, _SIGSEGV, _SIGKILL = 2, 5, 11, 9
_NO_THREAD = b"E02"
_MAX_READ = MAX_PACKET // 2 - 16  # bytes of memory for one reply
_FEATURES = b"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+"
_HALTED = {
    MP_HALTED: "halted",
    MP_UNINITIALIZED: "not started",
    MP_INIT_RECEIVED: "waits for its start",
}


class Session:
    """The conversation with one client about the guest of `debugger`, which stands still.

    Each call of `complain` tells the user, not GDB, why something was refused: GDB has no words for
    it.
    """

    def __init__(self, debugger: Debugger, complain: Callable[[str], None]) -> None:
        self._debugger = debugger
        self._complain = complain
        self._vcpu = 0  # of the packets that don't name a thread
        self._xml = description().encode()
        self.acknowledges = True  # whether each packet is answered by `+`
        self.detached = False
        self._handlers: dict[bytes, Callable[[bytes], bytes | None]] = {
            b"?": self._why,
            b"g": self._read_all,
            b"G": self._write_all,
            b"p": self._read_register,
            b"P": self._write_register,
            b"m": self._read_memory,
            b"M": self._write_hex,
            b"X": self._write_binary,
            b"c": self._continue,
            b"s": self._step,
            b"C": self._continue,
            b"S": self._step,
            b"Z": self._insert,
            b"z": self._remove,
            b"H": self._set_thread,
            b"T": self._is_alive,
            b"D": self._detach,
            b"k": self._kill,
            b"q": self._query,
            b"Q": self._set,
            b"v": self._verbose,
        }

    def answer(self, packet: bytes) -> bytes | None:
        """Returns the reply to a packet's data; None if the reply comes when the guest stops."""
        handler = self._handlers.get(packet[:1])
        if handler is None:
            return _UNKNOWN
        try:
            return handler(packet[1:])
        except RingletError as error:
            self._complain(f"{error.message}; {error.hint}")
            return _REFUSED
        except (ValueError, OverflowError):
            return _BAD

    def stopped(self, stop: Stop) -> list[bytes]:
        """Returns the packets that tell why the guest stopped, the last of them the reply."""
        words = [b"O" + f"{stop.detail}\n".encode().hex().encode()] if stop.detail else []
        return [*words, self._reply(stop)]

    def _reply(self, stop: Stop) -> bytes:
        if stop.reason == END:
            end = self._debugger.machine.control.end
            status = 0 if end is None else end.status
            return b"X%02x" % _SIGKILL if stop.detail == "killed" else b"W%02x" % (status & 0xFF)
        self._vcpu = stop.vcpu
        signals = {INTERRUPT: _SIGINT, CRASH: _SIGSEGV}
        reply = b"T%02xthread:%x;" % (signals.get(stop.reason, _SIGTRAP), stop.vcpu + 1)
        if stop.reason == BREAKPOINT:
            software = stop.address in self._debugger.breakpoints.software
            reply += b"swbreak:;" if software else b"hwbreak:;"
        elif stop.reason == WATCHPOINT and stop.data is not None:
            reply += b"%s:%x;" % (self._watch_word(stop.data), stop.data)
        return reply

    def _watch_word(self, address: int) -> bytes:
        for watch in self._debugger.breakpoints.hardware:
            if watch.address == address:
                return b"awatch" if watch.condition == ACCESS else b"watch"
        return b"watch"

    def _why(self, rest: bytes) -> bytes:
        stop = self._debugger.stopped
        return _REFUSED if stop is None else self._reply(stop)

    # Registers.

    def _at(self, vcpu: int) -> Vcpu:
        return self._debugger.vcpu(vcpu)

    def _read_all(self, rest: bytes) -> bytes:
        values = read_registers(self._at(self._vcpu))
        return b"".join(_hex(values[each.name], each.size) for each in REGISTERS)

    def _write_all(self, rest: bytes) -> bytes:
        data = bytes.fromhex(rest.decode("ascii"))
        values: dict[str, int] = {}
        for register in REGISTERS:
            own, data = data[: register.size], data[register.size :]
            if len(own) < register.size:
                return _BAD
            values[register.name] = int.from_bytes(own, "little")
        write_registers(self._at(self._vcpu), values)
        return _OK

    def _read_register(self, rest: bytes) -> bytes:
        number = _number(rest)
        if number >= len(REGISTERS):
            return _BAD
        register = REGISTERS[number]
        return _hex(read_registers(self._at(self._vcpu))[register.name], register.size)

    def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        data = bytes.fromhex(value.decode("ascii"))
        if _number(number) >= len(REGISTERS):
            return _BAD
        register = REGISTERS[_number(number)]
        if len(data) != register.size:
            return _BAD
        write_registers(self._at(self._vcpu), {register.name: int.from_bytes(data, "little")})
        return _OK

    # Memory.

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = _pair(rest)
        data = self._debugger.read(address, min(size, _MAX_READ), self._vcpu)
        return data.hex().encode() if data or not size else _FAULT

    def _write_hex(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._write(where, bytes.fromhex(data.decode("ascii")))

    def _write_binary(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._write(where, unescape(data))

    def _write(self, where: bytes, data: bytes) -> bytes:
        address, size = _pair(where)
        if size != len(data):
            return _BAD
        self._debugger.write(address, data, self._vcpu)
        return _OK

    # Going on.

    def _continue(self, rest: bytes) -> None:
        self._debugger.continue_()

    def _step(self, rest: bytes) -> None:
        self._debugger.step(self._vcpu)

    def _verbose(self, rest: bytes) -> bytes | None:
        if rest == b"Cont?":
            return b"vCont;c;C;s;S"
        if rest.startswith(b"Cont;"):
            return self._resume(rest[5:].split(b";"))
        if rest.startswith(b"Kill"):
            self._debugger.kill()
            return _OK
        return _UNKNOWN

    def _resume(self, actions: list[bytes]) -> bytes | None:
        """Goes on as the actions of vCont say: `s` is one step, `c` goes on; then a thread.

        An action without a thread is for all threads that no action before named. GDB steps one
        thread at a time.
        """
        stepping: int | None = None
        others = False
        for action in actions:
            kind, _, thread = action.partition(b":")
            if kind[:1] == b"s" or kind[:1] == b"S":
                if stepping is None:
                    stepping = self._vcpu if thread in (b"", b"-1") else _number(thread) - 1
            elif kind[:1] == b"c" or kind[:1] == b"C":
                others = True
            else:
                return _BAD
        if stepping is None:
            self._debugger.continue_()
        else:
            self._debugger.step(stepping, alone=not others)
        return None

    def _detach(self, rest: bytes) -> bytes:
        self._debugger.detach()
        self.detached = True
        return _OK

    def _kill(self, rest: bytes) -> None:
        self._debugger.kill()

    # Breakpoints and watchpoints.

    def _insert(self, rest: bytes) -> bytes:
        kind, address, size = self._point(rest)
        debugger = self._debugger
        if kind in (b"0", b"1"):
            debugger.add_breakpoint(address, hardware=kind == b"1", vcpu=self._vcpu)
        elif kind in (b"2", b"4"):
            debugger.add_watchpoint(address, size, reads=kind == b"4", vcpu=self._vcpu)
        else:  # x86 has no watchpoint for reads alone
            return _UNKNOWN
        return _OK

    def _remove(self, rest: bytes) -> bytes:
        kind, address, size = self._point(rest)
        debugger = self._debugger
        if kind in (b"0", b"1"):
            debugger.remove_breakpoint(address, hardware=kind == b"1")
        elif kind in (b"2", b"4"):
            debugger.remove_watchpoint(address, size, reads=kind == b"4")
        else:
            return _UNKNOWN
        return _OK

    def _point(self, rest: bytes) -> tuple[bytes, int, int]:
        kind, address, size = rest.split(b";")[0].split(b",")
        return kind, _number(address), _number(size)

    # Threads.

    def _set_thread(self, rest: bytes) -> bytes:
        kind, thread = rest[:1], rest[1:]
        if kind == b"g" and thread not in (b"0", b"-1"):
            vcpu = _number(thread) - 1
            if not 0 <= vcpu < self._debugger.vcpu_count:
                return _NO_THREAD
            self._vcpu = vcpu
        return _OK

    def _is_alive(self, rest: bytes) -> bytes:
        return _OK if 1 <= _number(rest) <= self._debugger.vcpu_count else _NO_THREAD

    # Questions and settings.

    def _query(self, rest: bytes) -> bytes:
        name, _, value = rest.partition(b":")
        if name == b"Supported":
            return _FEATURES % MAX_PACKET
        if name == b"Xfer" and value.startswith(b"features:read:target.xml:"):
            return self._part(value.rpartition(b":")[2])
        if name == b"Attached":
            return b"1"
        if name == b"C":
            return b"QC%x" % (self._vcpu + 1)
        if name == b"fThreadInfo":
            return b"m" + b",".join(b"%x" % (n + 1) for n in range(self._debugger.vcpu_count))
        if name == b"sThreadInfo":
            return b"l"
        if name.startswith(b"ThreadExtraInfo,"):
            return self._describe(_number(name.partition(b",")[2]) - 1).encode().hex().encode()
        if name == b"Symbol":
            return _OK
        if name.startswith(b"Rcmd,"):
            command = bytes.fromhex(name[5:].decode("ascii")).decode("utf-8", "replace")
            text = monitor(self._debugger, self._vcpu, command)
            return text.encode()[:_MAX_READ].hex().encode() or _OK
        return _UNKNOWN

    def _part(self, which: bytes) -> bytes:
        offset, size = _pair(which)
        part = self._xml[offset : offset + min(size, _MAX_READ)]
        more = offset + len(part) < len(self._xml)
        return (b"m" if more else b"l") + escape(part)

    def _describe(self, vcpu: int) -> str:
        return f"vCPU {vcpu}, {_HALTED.get(self._at(vcpu).mp_state, 'running')}"

    def _set(self, rest: bytes) -> bytes:
        if rest == b"StartNoAckMode":
            self.acknowledges = False
            return _OK
        return _UNKNOWN


def _hex(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little").hex().encode()


def _number(word: bytes) -> int:
    """Returns a hexadecimal number without a sign. Raises `ValueError`."""
    if not word or len(word) > 32 or not word.isalnum():
        raise ValueError(word)
    return int(word, 16)


def _pair(words: bytes) -> tuple[int, int]:
    address, size = words.split(b",")
    return _number(address), _number(size)
