"""A guest under a debugger, for the tests here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ringlet import Machine, MachineConfig, debug
from ringlet.observe.debug.abilities import Abilities, find_abilities
from ringlet.observe.debug.debugger import Debugger
from ringlet.observe.debug.stop import Stop

from ..machine_code import machine

PATIENCE = 60  # seconds


@contextmanager
def debugged(
    guest: str | bytes, *, able: dict[str, bool] | None = None, **options: Any
) -> Iterator[Debugger]:
    """A guest that comes with ringlet, or machine code at 0x7c00, at its first instruction.

    `able` takes abilities from this host's KVM, as another host lacks them.
    """
    abilities: Abilities | None = None if able is None else find_abilities()._replace(**able)
    made: Machine
    if isinstance(guest, bytes):
        made = machine(guest, **options)
    else:
        made = Machine(MachineConfig(image=guest, **{"serial": "none", "timeout": 60, **options}))
    with (
        made,
        debug(made) if abilities is None else Debugger(made, abilities=abilities) as debugger,
    ):
        made.start()
        assert wait(debugger).reason == "start"
        yield debugger


def wait(debugger: Debugger) -> Stop:
    stop = debugger.wait(PATIENCE)
    assert stop is not None, "the guest runs on"
    return stop


def go(debugger: Debugger) -> Stop:
    debugger.continue_()
    return wait(debugger)


def step(debugger: Debugger, vcpu: int = 0) -> Stop:
    debugger.step(vcpu)
    return wait(debugger)


def where(debugger: Debugger, stop: Stop) -> str:
    """The reason and the place of a stop."""
    return f"{stop.reason} {debugger.symbols.describe(stop.address)}".strip()
