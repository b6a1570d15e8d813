"""The guest that makes the mistakes of newcomers, tests/mistakes/mistakes.c, built by the guests'
own Makefile, as a user would build a guest; and runs of it.
"""

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ringlet import Machine, MachineConfig, Result

HERE = Path(__file__).parent
GUESTS = HERE.parent / "guests"
STATUS = 71  # EXCEPTION_STATUS of guests/lib/guest.h


Run = Callable[..., tuple[Result, str]]


def build(folder: Path) -> Path:
    """The image, with its debug file beside it."""
    shutil.copytree(GUESTS / "lib", folder / "lib")
    shutil.copy(GUESTS / "Makefile", folder)
    shutil.copytree(HERE / "mistakes", folder / "mistakes")
    image = folder / "out" / "mistakes.elf"
    command = ["make", "-s", "-C", folder, "OUT=out", "OBJ=obj", "out/mistakes.elf"]
    subprocess.run(command, check=True, capture_output=True)
    return image


def run(
    image: Path, mistake: str, *, bare: bool = False, timeout: float = 60
) -> tuple[Result, str]:
    """How the guest ends that makes this mistake, and what it says.

    A bare guest has no handler for any exception, as a newcomer's first kernel hasn't.
    """
    line = f"mistake={mistake}" + (" bare" if bare else "")
    said = io.BytesIO()
    config = MachineConfig(image=image, cmdline=line, serial=said, timeout=timeout)
    with Machine(config) as machine:
        result = machine.run()
    return result, said.getvalue().decode()


def cause(result: Result) -> str:
    """What is told of a crash, but for the registers; after the function in which it happened."""
    assert result.crash is not None
    lines = [] if result.crash.fault is None else result.crash.fault.lines()
    return "\n".join([result.crash.function.split("+")[0], *lines])


def doing(result: Result) -> str:
    """What is told of a guest that hung."""
    assert result.situation is not None
    return "\n".join(result.situation.lines())
