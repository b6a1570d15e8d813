"""Conversations with the debugger of the terminal, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ringlet import Machine, MachineConfig, debug
from ringlet.observe.console.console import Console, GuestLines
from ringlet.observe.console.session import Session

CHECKOUT = Path(__file__).parent.parent.parent


class Talk:
    """A console, and the lines that it has shown."""

    def __init__(self, console: Console, shown: list[str]) -> None:
        self.console = console
        self._shown = shown

    def new(self) -> list[str]:
        """The lines since the last call."""
        lines = list(self._shown)
        self._shown.clear()
        return lines

    def __call__(self, command: str) -> list[str]:
        """What a command shows, which has to go well."""
        self.new()
        well = self.console.answer(command)
        lines = self.new()
        assert well, lines
        return lines

    def fails(self, command: str) -> str:
        """What a command complains of, which has to fail."""
        self.new()
        assert not self.console.answer(command)
        what, hint = self.new()
        assert what.startswith("error: ")
        assert hint.startswith("  hint: ")
        return f"{what.removeprefix('error: ')}: {hint.removeprefix('  hint: ')}"


@contextmanager
def talk(image: str | bytes, **options: Any) -> Iterator[Talk]:
    """A conversation about a guest, which stands at its first instruction."""
    shown: list[str] = []
    guest = GuestLines(shown.append)
    options = {"serial": guest, "timeout": 60, **options}
    with (
        Machine(MachineConfig(image=image, **options)) as machine,
        debug(machine) as debugger,
        Console(Session(machine, debugger, str(CHECKOUT)), shown.append, guest) as console,
    ):
        console.start()
        yield Talk(console, shown)
        debugger.kill()
