"""Our standard input and output, tied to a pseudo-terminal on whose other end a program runs.

That pseudo-terminal does all the processing of keys and lines, so a terminal of ours is raw.

Source: pty(7); ioctl_tty(2), TIOCSWINSZ.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from fcntl import ioctl
from termios import TIOCGWINSZ, TIOCSWINSZ

from ringlet.closing import Closing
from ringlet.host.relay import Relay
from ringlet.host.standard_streams import find_terminal
from ringlet.host.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.host.polling import Part, Ready

_READ_AHEAD = 4096  # bytes of input that the program hasn't taken
_END_KEY = b"\x04"  # Ctrl-D, which ends the input of who reads from a terminal


class PtyRelay(Closing):
    """A part that moves bytes both ways. `master`, our end of the terminal, is closed with it."""

    def __init__(self, master: int) -> None:
        self._master = master
        with ExitStack() as stack:
            stack.callback(os.close, master)
            os.set_blocking(master, False)
            self._input = stack.enter_context(
                Relay(0, master, lambda data: data or _END_KEY, limit=_READ_AHEAD)
            )
            self._output = stack.enter_context(Relay(master, 1))
            if os.isatty(0):
                stack.enter_context(Terminal(0, raw_output=True))
            self.resize()
            self._stack = stack.pop_all()

    def watch(self) -> list[tuple[int, int]]:
        """The descriptors of both ways."""
        return [*self._input.watch(), *self._output.watch()]

    def step(self, ready: Ready) -> None:
        """Moves what is there. Raises OSError where standard output takes no more."""
        try:
            self._input.step(ready)
        except OSError:
            self._input.drop()
        self._output.step(ready)
        if self._output.at_end:  # nobody has the other end any more
            self._input.drop()

    def drain(self, *parts: Part) -> None:
        """Shows all that the program has written before its end; polls for `parts` meanwhile."""
        self._output.drain(*parts)

    def drop(self) -> None:
        """Shows no more."""
        self._output.drop()

    def resize(self) -> None:
        """Gives the pseudo-terminal the size of our terminal."""
        ours = find_terminal()
        if ours is not None:
            ioctl(self._master, TIOCSWINSZ, ioctl(ours, TIOCGWINSZ, bytes(8)))

    def close(self) -> None:
        """Puts the terminal's mode back."""
        self._stack.close()
