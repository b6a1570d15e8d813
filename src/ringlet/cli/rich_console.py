"""Rich's console for ringlet's commands: a closed pipe stays an exception."""

from __future__ import annotations

from rich.console import Console


class OutputConsole(Console):
    """Standard output for tables. Raises `BrokenPipeError`, for which ringlet has a status."""

    def on_broken_pipe(self) -> None:
        """Raises the exception again, while rich would end the process with status 1."""
        raise BrokenPipeError
