"""Named tuples without `typing`; to import `typing` takes a third of `ringlet boot hello`.

A module that must be imported fast defines its named tuples like this:

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from ringlet.host.named_tuple import NamedTuple

    class Entry(NamedTuple):
        registers: Registers
        special: SpecialRegisters

A type checker sees `typing.NamedTuple`, and a program gets the class below.
"""

from __future__ import annotations

from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self


class NamedTuple(tuple[object, ...]):
    """The base class of a named tuple, whose fields are the annotations of the subclass."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()
    _fields: tuple[str, ...] = ()
    _defaults: dict[str, object] = {}  # noqa: RUF012 (never changed)

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls.__match_args__ = cls._fields  # type: ignore[misc]
        cls._defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}
        for index, name in enumerate(cls._fields):
            setattr(cls, name, property(itemgetter(index)))

    def __new__(cls, *values: object, **named: object) -> Self:
        """Raises `TypeError` for a field that is missing, given twice or not known."""
        if named or len(values) != len(cls._fields):
            rest = cls._fields[len(values) :]
            given = cls._defaults | named
            if len(values) > len(cls._fields) or not named.keys() <= set(rest):
                raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}")
            try:
                values = (*values, *(given[name] for name in rest))
            except KeyError as error:
                raise TypeError(f"{cls.__name__} lacks its field {error.args[0]!r}") from None
        return tuple.__new__(cls, values)

    @classmethod
    def _make(cls, values: Iterable[object]) -> Self:
        made = tuple.__new__(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}")
        return made

    def __getnewargs__(self) -> tuple[object, ...]:
        """Returns the values, for copy and pickle."""
        return tuple(self)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({fields})"

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **changes: object) -> Self:
        return type(self)(**(self._asdict() | changes))
