"""What this host has for checks: a KVM of which kind, and containers. Each is found out once."""

from __future__ import annotations

import shutil
import time
from functools import cached_property

from ringlet.errors import ConfigError, RingletError
from ringlet.kvm.system import System
from ringlet.labs.check import ANY_KVM, HARDWARE_KVM, NO_KVM, Failed
from ringlet.labs.program import PYTHON, Program, require_python
from ringlet.machine.probe import unsupported_instruction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.labs.catalog import Lab
    from ringlet.labs.check import Check

# A program has `_PATIENCE` seconds for one check, or `_STARTS` times what Python takes to start: on
# this host a check takes a tenth of a second, in an emulated machine much longer.
_PATIENCE, _STARTS = 3.0, 10
_FIRST_START = 120.0  # seconds: Python may come from a slow disk


def require_programs(lab: Lab) -> None:
    """Raises `RingletError` if a program is missing that the checks of `lab` run."""
    require_python()
    for program in lab.programs:
        if shutil.which(program) is None:
            raise ConfigError(
                f"there is no {program}, which lab {lab.number} needs", f"apt install {program}"
            )


class Host:
    """What there is here: on the host, or in the emulated machine for what runs in there."""

    def why_not(self, check: Check) -> str | None:
        """Returns why `check` can't run here, as a clause; None if it can."""
        if check.kvm != NO_KVM and isinstance(self._kvm, RingletError):
            return f"KVM can't be used here ({self._kvm.message})"
        if check.kvm == HARDWARE_KVM and self._kvm != HARDWARE_KVM:
            return "this host's KVM emulates ring 0, and a check needs a hardware KVM"
        if isinstance(self._containers, RingletError):
            return f"no container can be made here ({self._containers.message})"
        return None

    @property
    def patience(self) -> float:
        """How many seconds a program has for one check. Raises `RingletError` for no container."""
        if isinstance(self._containers, RingletError):
            raise self._containers
        return self._containers

    @cached_property
    def _kvm(self) -> str | RingletError:
        try:
            with System() as system:
                is_emulated = unsupported_instruction(system) is not None
        except RingletError as error:
            return error
        return ANY_KVM if is_emulated else HARDWARE_KVM

    @cached_property
    def _containers(self) -> float | RingletError:
        begun = time.monotonic()
        try:
            with Program({}, [PYTHON, "-c", ""], kvm=False, seconds=_FIRST_START) as program:
                program.end_input()
                program.finish()
        except RingletError as error:
            return error
        except Failed as failed:
            return RingletError(
                f"Python doesn't start in a container: {failed.seen}", "try again: the host is busy"
            )
        return max(_PATIENCE, _STARTS * (time.monotonic() - begun))
