"""Connects standard input and output to a pseudo-terminal, on whose slave side a program runs.

The pseudo-terminal processes the keys and lines, so the terminal of ringlet itself is in raw mode.

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

_READ_AHEAD = 4096  # the most bytes of input that the program hasn't read yet
_END_KEY = b"\x04"  # Ctrl-D, which ends the input of a program that reads from a terminal


class PtyRelay(Closing):
    """A part (polling.py) that moves bytes both ways. Closes `master`, ringlet's end of the pty."""

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
        """Returns the descriptors of both directions."""
        return [*self._input.watch(), *self._output.watch()]

    def step(self, ready: Ready) -> None:
        """Moves the bytes that are ready. Raises OSError if standard output takes no more."""
        try:
            self._input.step(ready)
        except OSError:
            self._input.drop()
        self._output.step(ready)
        if self._output.at_end:  # no process has the slave side open any more
            self._input.drop()

    def drain(self, *parts: Part) -> None:
        """Shows all that the program wrote before its end; polls for `parts` meanwhile."""
        self._output.drain(*parts)

    def drop(self) -> None:
        """Drops the output that isn't shown yet, and all later output."""
        self._output.drop()

    def resize(self) -> None:
        """Gives the pseudo-terminal the size of ringlet's own terminal."""
        ours = find_terminal()
        if ours is not None:
            ioctl(self._master, TIOCSWINSZ, ioctl(ours, TIOCGWINSZ, bytes(8)))

    def close(self) -> None:
        """Restores the terminal's mode, and closes the descriptors."""
        self._stack.close()
