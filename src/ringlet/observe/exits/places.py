"""The places of exits: which device is at a port or address, and whether the exit is wanted."""

from __future__ import annotations

from typing import NamedTuple

from ringlet.board.device import register_name
from ringlet.kvm.core import lib
from ringlet.kvm.vcpu import KEY_SHIFT, KEY_SIZE_SHIFT, KEY_WRITE, KIND_NAMES, KIND_SHIFT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.board.board import Placed
    from ringlet.board.device import Device
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.observe.trace.filters import Filter
    from ringlet.observe.trace.summary import Summary, Times

PORT, MMIO = lib.RINGLET_EXIT_PORT, lib.RINGLET_EXIT_MMIO
PORT_STRING = lib.RINGLET_EXIT_PORT_STRING
_MAX_PLACES = 4096  # a guest may access any address: no more places are kept


class Access(NamedTuple):
    """What an exit says of an access: of `size` bytes, or one of several of this size."""

    is_mmio: bool
    write: bool
    size: int
    address: int  # of memory, guest-physical; or the port


class Place:
    """What is the same for all exits of one kind at one port or address.

    access  None for an exit that isn't an access
    device  the name of the device there, or None
    fields  the fields of `Exit` that are the same for all of these exits
    times   of the summary
    wanted  whether the filter admits these exits
    """

    __slots__ = ("_behind", "_offset", "access", "device", "fields", "times", "wanted")

    def __init__(
        self, kind: str, access: Access | None, placed: Placed | None, offset: int
    ) -> None:
        self.access = access
        self.device = None if placed is None else placed.name
        self.fields: dict[str, Any] = {"kind": kind, "device": self.device}
        if access is not None:
            self.fields["access"] = "write" if access.write else "read"
            self.fields["address" if access.is_mmio else "port"] = access.address
            self.fields["size"] = access.size
        self.wanted = True
        self.times: Times
        self._behind: Device | None = None if placed is None else placed.device
        self._offset = offset

    def register(self) -> str | None:
        """Returns the name of the register that the access reaches now; None without a device."""
        if self._behind is None or self.access is None:
            return None
        return register_name(self._behind, self._offset, self.access.write)


class Places:
    """The places of the exits of one vCPU, by the code of the exit."""

    def __init__(self, vcpu: Vcpu, devices: list[Placed], wanted: Filter, summary: Summary) -> None:
        self._native = vcpu.native
        self._vcpu = vcpu.number
        self._wanted = wanted
        self._summary = summary
        self._ports = [
            (first, count, placed) for placed in devices for first, count in placed.ports
        ]
        self._mmio = [(first, size, placed) for placed in devices for first, size in placed.mmio]
        self._known: dict[Any, Place] = {}

    def find(self, code: int) -> Place:
        """Returns the place of the exit that has just happened."""
        key: Any = code >> KEY_SHIFT
        # The code tells all but an address, and nothing of a string instruction.
        if key >> (KIND_SHIFT - KEY_SHIFT) in (MMIO, PORT_STRING):
            native = self._native
            key = (key, native.address, native.size, native.write)
        place = self._known.get(key)
        if place is None:
            if len(self._known) == _MAX_PLACES:
                self._known.clear()
            place = self._known[key] = self._make(code)
        return place

    def _make(self, code: int) -> Place:
        number, native, access = code >> KIND_SHIFT, self._native, None
        if number == PORT:
            key = code >> KEY_SHIFT
            access = Access(False, key & KEY_WRITE != 0, key >> KEY_SIZE_SHIFT & 7, key & 0xFFFF)
        elif number in (MMIO, PORT_STRING):
            access = Access(number == MMIO, native.write != 0, native.size, native.address)
        placed, first = (None, 0) if access is None else self._device(access)
        kind = KIND_NAMES[number]
        place = Place(kind, access, placed, 0 if access is None else access.address - first)
        name = place.device or ""
        where = (None, 0) if access is None else (access.address, access.size)
        place.wanted = self._wanted.admits(kind, name, self._vcpu, *where)
        place.times = self._summary.times(kind, name)
        return place

    def _device(self, access: Access) -> tuple[Placed | None, int]:
        """Returns the device at the first port or address of an access, and where it begins."""
        for first, count, placed in self._mmio if access.is_mmio else self._ports:
            if first <= access.address < first + count:
                return placed, first
        return None, 0
