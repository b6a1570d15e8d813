"""Checkers of JSON values: each describes the values that a field may have.

A checker takes a value and returns the value in the form to be used, or raises `FieldError`.
Checkers of objects and arrays are made from the checkers of their parts:
`record({"path": absolute})`. A checked object is a new object that has only the known fields, and
no field that is null: the Go programs that write the files use null for a missing value.
"""

from __future__ import annotations

import os

from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Checker = Callable[[Any], Any]
    Rule = Callable[[Any], None]

_SHOWN = 60  # characters of a value, in a message


class SpecError(ConfigError):
    """The error for a field of the container's configuration that can't be used."""


class FieldError(Exception):
    """The error of a checker: `why` a value can't be used, `where` it is, and a `hint`."""

    def __init__(self, why: str, hint: str, where: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint
        self.where = where

    def within(self, name: str) -> FieldError:
        """Adds the enclosing object's `name`, or the array's `[number]`, before `where`."""
        dot = "." if self.where and not self.where.startswith("[") else ""
        self.where = f"{name}{dot}{self.where}"
        return self


def shown(value: object) -> str:
    """Returns the value on one line, shortened, without control characters of a terminal."""
    kinds = {dict: "an object", list: "an array", bool: "true" if value else "false"}
    if value is None:
        return "null"
    text = kinds.get(type(value)) or ascii(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _key(name: str) -> str:
    """Returns a key that the file's author chose, as part of a path."""
    plain = name.isascii() and name.replace("_", "").isalnum()
    return name if plain and len(name) <= _SHOWN else f"[{shown(name)}]"


def string(value: object) -> str:
    """Checks for any string."""
    if not isinstance(value, str):
        raise FieldError(f"{shown(value)} is not a string", 'write it in quotes: "text"')
    return value


def text(value: object) -> str:
    """Checks for a string that can be passed to the kernel."""
    plain = string(value)
    if "\0" in plain:
        raise FieldError("there is a zero byte in it", "leave out \\u0000")
    if not plain.isascii():
        try:
            plain.encode("utf-8", "surrogateescape")  # as Python passes it to the kernel
        except UnicodeEncodeError:
            raise FieldError(
                "there is half a character in it", "write the second \\uXXXX of the pair, too"
            ) from None
    return plain


def nonempty(value: object) -> str:
    """Checks for a text that isn't empty."""
    if not (filled := text(value)):
        raise FieldError("it is empty", "give it a value, or leave it out")
    return filled


def absolute(value: object) -> str:
    """Checks for an absolute path."""
    path = text(value)
    if not path.startswith("/"):
        raise FieldError(f"{shown(path)} is not an absolute path", "begin it with a /")
    return path


def inside(value: object) -> str:
    """Checks for a path in the container; returns it absolute and normalized, to be compared.

    Source: config.md ("Mounts"): a relative path begins at the root.
    """
    return os.path.normpath(f"/{nonempty(value).lstrip('/')}")


def absolute_inside(value: object) -> str:
    """Does the same as `inside`, for a path that has to be absolute."""
    return inside(absolute(value))


def flag(value: object) -> bool:
    """Checks for a boolean."""
    if not isinstance(value, bool):
        raise FieldError(f"{shown(value)} is not a boolean", "write true or false")
    return value


def integer(low: int, high: int) -> Checker:
    """Returns a checker of whole numbers from `low` to `high`, both included."""

    def check(value: object) -> int:
        # In Python true is an int. A number such as 1e3 isn't an integer in Go, either.
        if not isinstance(value, int) or isinstance(value, bool):
            raise FieldError(f"{shown(value)} is not a whole number", "write digits alone: 1000")
        if not low <= value <= high:
            raise FieldError(f"{shown(value)} is out of range", f"it is from {low} to {high}")
        return value

    return check


UINT16 = integer(0, (1 << 16) - 1)
UINT32 = integer(0, (1 << 32) - 1)
UINT64 = integer(0, (1 << 64) - 1)
INT64 = integer(-(1 << 63), (1 << 63) - 1)


def one_of(what: str, known: Iterable[str]) -> Checker:
    """Returns a checker of the strings in `known`; `what` names their kind in errors."""
    names = frozenset(known)

    def check(value: object) -> str:
        if (given := string(value)) not in names:
            raise FieldError(f"unknown {what} {shown(given)}", _choose(given, names))
        return given

    return check


def _choose(given: str, names: frozenset[str]) -> str:
    from difflib import get_close_matches

    lower = {name.lower(): name for name in names}
    for near in get_close_matches(given[:_SHOWN].lower(), lower, 1):
        return f"is it {lower[near]}?"
    return f"one of {' '.join(sorted(names))}"


def array(
    item: Checker, rules: Iterable[Rule] = (), *, least: int = 0, most: int | None = None
) -> Checker:
    """Returns a checker of arrays with `least` to `most` items; `rules` are as in `record`."""

    def check(value: object) -> list[Any]:
        if not isinstance(value, list):
            raise FieldError(f"{shown(value)} is not an array", "write it in brackets: [...]")
        if len(value) < least:
            raise FieldError("it is empty", f"give at least {least}")
        if most is not None and len(value) > most:
            raise FieldError(f"it has {len(value)} entries", f"the kernel takes {most}")
        number = 0
        items = []
        try:
            for number, one in enumerate(value):  # noqa: B007 - the handler has need of it
                items.append(item(one))
        except FieldError as error:
            raise error.within(f"[{number}]") from None
        for rule in rules:
            rule(items)
        return items

    return check


def unique(key: str) -> Rule:
    """Returns a rule for an array: no two of its objects have the same `key`."""

    def check(entries: list[dict[str, str]]) -> None:
        seen = set()
        for number, entry in enumerate(entries):
            if entry[key] in seen:
                why = f"{entry[key]} is there twice"
                raise FieldError(why, "leave one of them out", f"[{number}].{key}")
            seen.add(entry[key])

    return check


def mapping(key: Checker, item: Checker) -> Checker:
    """Returns a checker of objects whose keys are chosen by the file's author."""

    def check(value: object) -> dict[str, Any]:
        known = {}
        given = _object(value)
        name = ""
        try:
            for name, one in given.items():
                if one is not None:
                    known[key(name)] = item(one)
        except FieldError as error:
            raise error.within(_key(name)) from None
        return known

    return check


def record(
    required: Mapping[str, Checker],
    optional: Mapping[str, Checker] | None = None,
    rules: Iterable[Rule] = (),
) -> Checker:
    """Returns a checker of objects with these fields; unknown fields are left out.

    `rules` run last, each on the whole object; a rule raises FieldError if its fields don't fit.
    """
    fields = {**required, **(optional or {})}

    def check(value: object) -> dict[str, Any]:
        known = {}
        given = _object(value)
        name = ""
        try:
            for name, one in given.items():
                if one is not None and (field := fields.get(name)):
                    known[name] = field(one)
        except FieldError as error:
            raise error.within(name) from None
        for name in required:
            if name not in known:
                raise FieldError("it is missing", f"add it: {name} is required", name)
        for rule in rules:
            rule(known)
        return known

    return check


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FieldError(f"{shown(value)} is not an object", "write it in braces: {...}")
    return value


def refuse(why: str, hint: str) -> Checker:
    """Returns a checker that refuses every value of a field."""

    def check(value: object) -> None:
        raise FieldError(why, hint)

    return check


def apply(checker: Checker, value: object, place: str, root: str = "") -> Any:
    """Returns what `checker` makes of `value`; errors name the `place`. Raises SpecError."""
    try:
        return checker(value)
    except FieldError as error:
        where = (error.within(root) if root else error).where
        at = ": ".join(part for part in (place, where) if part)
        raise SpecError(f"{at}: {error.why}" if at else error.why, error.hint) from None
