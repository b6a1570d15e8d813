"""Filters: which events a trace shows and counts."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from ringlet.errors import ConfigError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Filter(NamedTuple):
    """What a trace is about. An empty field excludes nothing.

    kinds, groups, actors  the kinds, devices or system calls, and vCPUs or processes
    addresses              the first and the last of each range of ports or addresses
    since, until           seconds since the start of the trace; `until` itself is outside
    most                   how many events the trace shows; the summary counts the others, too
    """

    kinds: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    actors: frozenset[int] = frozenset()
    addresses: tuple[tuple[int, int], ...] = ()
    since: float = 0.0
    until: float = inf
    most: float = inf

    def admits(
        self, kind: str, group: str, actor: int, address: int | None = None, size: int = 1
    ) -> bool:
        """Returns whether an event at `size` ports or addresses is wanted, at some time.

        An event that has no address passes only a filter without addresses.
        """
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.groups or group in self.groups)
            and (not self.actors or actor in self.actors)
            and (not self.addresses or (address is not None and self._has(address, size)))
        )

    def admits_time(self, time: float) -> bool:
        """Returns whether an event at this time is wanted."""
        return self.since <= time < self.until

    def _has(self, address: int, size: int) -> bool:
        return any(first < address + size and address <= last for first, last in self.addresses)


def parse_range(text: str) -> tuple[int, int]:
    """Returns the first and the last address of `0x3f8` or `0x3f8-0x3ff`. Raises `ConfigError`."""
    first, dash, last = text.partition("-")
    try:
        low = _address(first)
        high = _address(last) if dash else low
    except ValueError:
        raise ConfigError(
            f"{text!r} is not an address", "write it like 0x3f8, or a range like 0x3f8-0x3ff"
        ) from None
    if low > high:
        raise ConfigError(f"the range {text!r} is empty", "write the lower address first")
    return low, high


def _address(text: str) -> int:
    if not text.isascii() or "_" in text or text.strip() != text:
        raise ValueError
    address = int(text, 0)
    if not 0 <= address < 1 << 64:
        raise ValueError
    return address


def parse_period(text: str) -> tuple[float, float]:
    """Returns from when until when: `0.5-2`, `0.5-` or `-2`, in seconds. Raises `ConfigError`."""
    since, dash, until = text.partition("-")
    try:
        if not dash or not (since or until):
            raise ValueError
        low, high = (_seconds(since) if since else 0.0), (_seconds(until) if until else inf)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a period", "write it like 0.5-2, 0.5- or -2, in seconds"
        ) from None
    if low >= high:
        raise ConfigError(f"the period {text!r} is empty", "write the earlier time first")
    return low, high


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or not text.isascii():
        raise ValueError
    return float(text)


def check_names(names: Iterable[str], known: Iterable[str], what: str) -> frozenset[str]:
    """Returns `names` as a set. Raises `ConfigError` for a name that isn't one of `known`."""
    words = list(known)
    for name in names:
        if name not in words:
            others = f"there are {', '.join(words)}" if words else "there is none"
            raise ConfigError(f"there is no {what} {name!r}", near(name, words, others))
    return frozenset(names)
