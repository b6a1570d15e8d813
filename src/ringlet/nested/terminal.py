"""The host's terminal as the far end of a pseudo-terminal in the machine.

That one processes output; done twice, programs that draw on the whole screen would go wrong.

Source: termios(3), OPOST.
"""

import termios
from contextlib import suppress

from ringlet.host.terminal import Terminal

_OFLAG = 1  # index of termios.tcgetattr's list


class RawTerminal(Terminal):
    """A terminal whose output is raw, too, for as long as it is entered."""

    def make_raw(self) -> bool:
        """Sets raw mode, if the process is in the foreground; whether it is."""
        if not super().make_raw():
            return False
        with suppress(termios.error):  # it hung up
            mode = termios.tcgetattr(self._fd)
            mode[_OFLAG] &= ~termios.OPOST
            termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        return True
