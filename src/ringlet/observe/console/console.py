"""A debugger for people: commands in words, answers in lines.

    (ringlet) break print
    breakpoint 1 at 0x1003c0 print
    (ringlet) continue

This file has the conversation: which command a line names, what a stop shows, and how the console
waits for a stop. The commands themselves are in console_moves.py and console_views.py.
"""

from __future__ import annotations

import os
from contextlib import suppress
from select import POLLIN, poll
from threading import Lock

from ringlet.closing import Closing
from ringlet.errors import RingletError, near
from ringlet.host.descriptor import eventfds
from ringlet.host.interrupt import Interrupted
from ringlet.observe.console.moves import MOVES
from ringlet.observe.console.stop_words import changes, stop_words
from ringlet.observe.console.views import VIEWS
from ringlet.observe.debug import stop as stops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NamedTuple

    from ringlet.observe.console.moves import Breakpoint
    from ringlet.observe.console.session import Session
    from ringlet.observe.debug.state import State
    from ringlet.observe.debug.stop import Stop
else:
    from ringlet.host.named_tuple import NamedTuple

PROMPT = "(ringlet) "
MAX_GUEST_LINE = 4096  # bytes of the guest's output that are held for the rest of the line


class Command(NamedTuple):
    """A command: its name, short forms, arguments, meaning, and what it does."""

    name: str
    short: tuple[str, ...]
    arguments: str
    meaning: str
    do: Callable[[Console, list[str]], None]


class GuestLines:
    """The guest's output as lines of the conversation, each marked `guest| `."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._lock = Lock()
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Takes output of the guest, on a vCPU's thread."""
        with self._lock:
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > MAX_GUEST_LINE:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                self._show_line(line)

    def flush(self) -> None:
        """Shows what the guest has written of a line that isn't complete."""
        with self._lock:
            if self._rest:
                self._show_line(self._rest)
                self._rest = b""

    def _show_line(self, line: bytes) -> None:
        text = line.rstrip(b"\r").decode("utf-8", "backslashreplace").expandtabs()
        self._show(f"guest| {text if text.isprintable() else ascii(text)[1:-1]}")


class Console(Closing):
    """A conversation about one guest.

    `show` prints one line. `guest` is the guest's serial line, if its output is a part of the
    conversation. Only one thread uses a console, but for `interrupt` and `end`.
    """

    def __init__(
        self, session: Session, show: Callable[[str], None], guest: GuestLines | None = None
    ) -> None:
        self.session = session
        self.show = show
        self.guest = guest
        self.breakpoints: dict[int, Breakpoint] = {}
        self.watched: dict[int, bytes] = {}  # the memory of each watchpoint, as it was last seen
        self.next_number = 1
        self.over = False
        self._shown: State | None = None  # the state at the last stop that was shown
        self._last = ""
        self._met: set[int] = set()  # the numbers of breakpoints
        self._ending = 0
        self._interrupted = False
        (self._wake_fd,) = eventfds(0, flags=os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self) -> None:
        """Closes the descriptor. The session stays open."""
        os.close(self._wake_fd)

    # Signals. A signal handler may call these.

    def interrupt(self) -> None:
        """Stops the guest, or the command under way."""
        self._interrupted = True
        os.eventfd_write(self._wake_fd, 1)

    def end(self, number: int) -> None:
        """Ends the conversation because of a signal, once the command under way is over."""
        self._ending = number
        self.interrupt()

    def check_end(self) -> None:
        """Raises `Interrupted` if `end` was called."""
        if self._ending:
            raise Interrupted(self._ending)

    @property
    def was_interrupted(self) -> bool:
        """Whether `interrupt` was called for the command under way."""
        return self._interrupted

    def _forget_interrupt(self) -> None:
        self._interrupted = False
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    # The conversation.

    def start(self) -> None:
        """Starts the machine, and shows where it stands."""
        self.session.machine.start()
        self.show_stop(self.wait())

    def run(self, line: str) -> None:
        """Does one command; an empty line repeats the last one. Raises `RingletError`."""
        line = line.split("#", 1)[0].strip() or ("" if "#" in line else self._last)
        words = line.split()
        if not words:
            return
        command = find(words[0])
        self._last = line
        command.do(self, words[1:])

    def script(self, lines: Iterable[str]) -> bool:
        """Does one command after another, and shows each; returns False at the first that fails."""
        for line in lines:
            if line.strip():
                self.show(f"{PROMPT}{line.strip()}")
            if not self.answer(line if line.strip() else "#"):
                return False
            if self.over:
                break
        return True

    def talk(self, read: Callable[[], str]) -> None:
        """Does the commands that `read` gives, until the end. `read` raises EOFError at the end."""
        while not self.over:
            try:
                line = read()
            except EOFError:
                self.show("")
                break
            except KeyboardInterrupt:
                self.show("")
                continue
            self.answer(line)

    def answer(self, line: str) -> bool:
        """Does one command, and says why it fails if it does; returns whether it went well."""
        went_well = True
        try:
            self.run(line)
        except RingletError as error:
            self.show(f"error: {_one_line(error.message)}")
            self.show(f"  hint: {_one_line(error.hint)}")
            went_well = False
        finally:
            self._forget_interrupt()  # only now: it may come just before a command begins
        self.check_end()
        return went_well

    def usage(self, name: str) -> RingletError:
        """Returns the error for a command with words that it doesn't take."""
        command = COMMANDS[name]
        form = f"{command.name} {command.arguments}".strip()
        return RingletError(f"{name} doesn't take these words", f"it is: {form}")

    # Stops.

    def wait(self) -> Stop:
        """Waits until the guest stands still. An interrupt asks the guest to."""
        debugger = self.session.debugger
        waiting = poll()
        for fd in (*debugger.filenos(), self._wake_fd):
            waiting.register(fd, POLLIN)
        while True:
            ready = [fd for fd, _ in waiting.poll()]
            if self._wake_fd in ready:
                os.eventfd_read(self._wake_fd)
                self.check_end()
                debugger.stop()
            stop = debugger.wait(0)
            if stop is not None:
                break
        self.session.stop = stop
        if stop.reason == stops.END:
            self._note_end()
        else:
            self.session.vcpu = stop.vcpu
        if self.guest is not None and stop.reason in (stops.END, stops.CRASH, stops.INTERRUPT):
            self.guest.flush()
        return stop

    def _note_end(self) -> None:
        """Waits for the guest's last output, too."""
        try:
            self.session.machine.wait()
        except Exception as error:  # a device's exception, of any kind
            self.show(f"error: the run ended by {type(error).__name__}: {_one_line(str(error))}")

    def show_stop(self, stop: Stop) -> None:
        """Shows why the guest stands still, where it is, and which registers have changed."""
        session = self.session
        words = stop_words(session.machine, stop)
        if stop.reason == stops.BREAKPOINT:
            words = self._breakpoint_words(stop)
        elif stop.reason == stops.WATCHPOINT:
            words = self._watchpoint_words(stop) or words
        if words:
            self.show(_one_line(words))
        if stop.reason == stops.END:
            self._show_unmet()
            return
        if stop.reason == stops.CRASH:
            for row in session.fault_lines(stop):
                self.show(f"  {_one_line(row)}")
        if stop.detail and stop.reason not in (stops.CRASH, stops.STEP):
            self.show(f"note: {_one_line(stop.detail)}")
        state = session.state()
        self.show_mode(state)
        entered = session.entered_by(state)
        if entered:
            self.show(f"entered by {entered}")
        self.show_place(state.address)
        before = self._shown
        if before is not None and before.vcpu == state.vcpu:
            rows = changes(before, state)
            if rows:
                self.show(f"changed: {', '.join(rows)}")
        self._shown = state

    def _breakpoint_words(self, stop: Stop) -> str:
        for number, each in self.breakpoints.items():
            if each.address == stop.address and not each.size:
                self._met.add(number)
                return f"breakpoint {number}"
        return ""

    def _watchpoint_words(self, stop: Stop) -> str:
        """Returns which watched memory the guest has written, and how it has changed."""
        rows = []
        for number, before in self.watched.items():
            each = self.breakpoints[number]
            now = self.session.read(each.address, each.size)
            self.watched[number] = now
            if now != before:
                rows.append(
                    f"watchpoint {number}: {each.words} {before.hex(' ')} -> {now.hex(' ')}"
                )
            elif each.address <= (stop.data or 0) < each.address + each.size:
                rows.append(f"watchpoint {number}: {each.words} is written, and stays the same")
        return "; ".join(rows)

    def _show_unmet(self) -> None:
        """Says, where KVM has no breakpoints in ring 3, which breakpoints were never met."""
        if self.session.debugger.abilities.trap_ring_3:
            return
        for number, each in self.breakpoints.items():
            if not each.size and number not in self._met:
                self.show(
                    f"note: breakpoint {number} was not met; if it is in ring 3, this host's KVM "
                    "needs it set when the page tables let ring 3 in"
                )

    def show_mode(self, state: State) -> None:
        """Shows the mode of a vCPU where another one was shown before, or another vCPU."""
        before = self._shown
        name = f"vCPU {state.vcpu}" if len(self.session.machine.vm.vcpus) > 1 else "mode"
        if before is None or before.vcpu != state.vcpu:
            self.show(f"{name}: {state.mode}")
        elif before.mode != state.mode:
            self.show(f"{name}: {before.mode} -> {state.mode}")

    def note_mode(self, before: State, after: State) -> None:
        """Shows a change of the mode on the way, between two instructions."""
        if before.mode != after.mode:
            place = self.session.describe(after.address)
            at = f"{after.address:#x}" + (f" {place}" if place else "")
            self.show(f"at {at}: {before.mode} -> {after.mode}")
            self._shown = after if self._shown is None else self._shown

    def show_place(self, address: int) -> None:
        """Shows the function, the source line and the instruction at a linear address."""
        session = self.session
        line = session.lines.at(address)
        where = [session.describe(address), "" if line is None else str(line)]
        if any(where):
            self.show(", ".join(part for part in where if part))
        text = None if line is None else session.source_line(line)
        if text is not None and line is not None:
            self.show(f"{line.number:>6}  {text}")
        instruction = session.instructions(address, 1)
        if instruction:
            code = instruction[0].code.hex(" ")
            self.show(f"=> {address:#x}  {instruction[0].text:<32} {code}".rstrip())
        else:
            self.show(f"=> {address:#x}  no memory is there")


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def _help(console: Console, words: list[str]) -> None:
    if len(words) > 1:
        raise console.usage("help")
    if words:
        command = find(words[0])
        console.show(f"{command.name} {command.arguments}".strip())
        console.show(f"  {command.meaning}")
        if command.short:
            console.show(f"  short: {', '.join(command.short)}")
        return
    for command in COMMANDS.values():
        usage = f"{command.name} {command.arguments}".strip()
        short = f"({', '.join(command.short)})" if command.short else ""
        console.show(f"  {usage:<28} {short:<8} {command.meaning}")
    console.show("A command may be cut short as long as one command alone begins so.")
    console.show("An empty line repeats the last command. What follows # is a comment.")
    console.show(
        "PLACE is an address, a symbol, a register as $rsp, each also with an offset as in"
    )
    console.show("main+0x10, or FILE:LINE.")


def _quit(console: Console, words: list[str]) -> None:
    if words:
        raise console.usage("quit")
    console.over = True


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        *(Command(*row) for row in MOVES),
        *(Command(*row) for row in VIEWS),
        Command("help", ("h", "?"), "[COMMAND]", "show the commands, or one of them", _help),
        Command("quit", ("q",), "", "end the guest and the debugger", _quit),
    )
}
_SHORT = {short: command for command in COMMANDS.values() for short in command.short}


def find(word: str) -> Command:
    """Returns the command that a word names. Raises `RingletError`."""
    if word in COMMANDS:
        return COMMANDS[word]
    if word in _SHORT:
        return _SHORT[word]
    fitting = [name for name in COMMANDS if name.startswith(word)]
    if len(fitting) == 1:
        return COMMANDS[fitting[0]]
    if fitting:
        raise RingletError(f"{word} may be {' or '.join(fitting)}", "write more of the name")
    hint = near(word, COMMANDS, "`help` shows the commands")
    raise RingletError(f"there is no command {word}", hint)
