"""Ways and measures of few lines, as plug-ins: what is tried out is who runs them, and when."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from ringlet.compare.instances import Unavailable
from ringlet.compare.measures import Found, Row


def say_nothing(medians: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in medians.items())


def row(name: str = "time", **changes: Any) -> Row:
    return Row(name, name.title(), "ms", "lower", "how", say_nothing)._replace(**changes)


def add_way(
    monkeypatch: pytest.MonkeyPatch, name: str, *, error: str = "", own_kernel: bool = False
) -> None:
    """The way `name`, which can't be gone if there is an `error`."""

    class Way:
        title = name.upper()
        about = "A toy."

        def __init__(self, lab: Any) -> None:
            if error:
                raise Unavailable(error, "none")
            self.lab, self.name, self.own_kernel = lab, name, own_kernel

        def versions(self) -> dict[str, str]:
            return {name: "1.0"}

    module = ModuleType(name)
    module.Way = Way  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"ringlet.compare.ways.{name}", module)


def add_measure(
    monkeypatch: pytest.MonkeyPatch,
    sample: Callable[[Any], Mapping[str, Found | Exception]],
    *,
    name: str = "toy",
    rows: tuple[Row, ...] = (row(),),
    rounds: int | None = None,
    seconds: float = 0.01,
) -> None:
    """The measure `name`, which finds what `sample` says of a way."""
    given = (name, rows, rounds, seconds)

    class Measure:
        name, rows, rounds, seconds = given
        group = given[0]

        def __init__(self, lab: Any) -> None:
            self.lab = lab

        def sample(self, way: Any) -> Mapping[str, Found | Exception]:
            return sample(way)

    module = ModuleType(name)
    module.Measure = Measure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"ringlet.compare.measures.{name}", module)
