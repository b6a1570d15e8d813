"""The base class of everything that has to be closed, which makes it a context manager."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False  # not imported: `typing` takes as long to import as Python takes to start
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Closing(ABC):
    """An object that the end of a `with` block closes, also after an exception."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Closes the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
