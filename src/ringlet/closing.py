"""What is opened is closed: the context manager that everything with a `close` is."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False  # of `typing`, whose import takes as long as the interpreter's start
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Closing(ABC):
    """Closed at the end of a `with` block, also on an exception."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
