"""The lab of a comparison: the workload, a root for containers, a disk, and the settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.machine.guests import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DISK_BYTES = 64 << 20


class Settings(NamedTuple):
    """The settings that the user chose."""

    kernel: str | None = None  # the Linux VM's kernel; None to look for one
    most_instances: int = 20  # the most instances of one way that run at once
    memory_share: float = 0.25  # the share of free memory for all instances
    keep: str | None = None  # a new folder to keep the files that the report names


class Lab(Closing):
    """A folder with the files that the ways share. Raises `RingletError`.

    `close` removes the folder, unless the settings say to keep it.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.work = os.path.join(FOLDER, "work")  # the workload as a static program
        if not os.path.exists(self.work):
            raise RingletError("the workload isn't built", "run `make`, or install ringlet again")
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.folder = self._make_folder(stack)
            self.folder.chmod(0o755)
            self.rootfs = self.folder / "rootfs"  # its command is /work
            for name in ("proc", "sys", "dev", "tmp"):
                (self.rootfs / name).mkdir(parents=True)
            shutil.copy(self.work, self.rootfs / "work")
            (self.rootfs / "disk").touch()  # a mount point for the disk
            self.disk = self.folder / "disk"
            self._fill_disk()
            self.tsc_hz = self._measure_tsc()
            self._stack = stack.pop_all()

    def on_close(self, call: Callable[[], object]) -> None:
        """Calls `call` when the comparison is over."""
        self._stack.callback(call)

    def _make_folder(self, stack: ExitStack) -> Path:
        if self.settings.keep is None:
            folder = Path(mkdtemp(prefix="ringlet-compare-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            return folder
        folder = Path(os.path.abspath(self.settings.keep))
        try:
            folder.mkdir()
        except OSError as error:
            raise RingletError(
                f"can't make the folder {folder}: {error.strerror}", "name one that isn't there yet"
            ) from error
        return folder

    def _fill_disk(self) -> None:
        with open(self.disk, "wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(DISK_BYTES >> 20):
                file.write(block)
        self.disk.chmod(0o666)  # root in a container is another user

    def _measure_tsc(self) -> float:
        """Returns the rate of the time-stamp counter, the workload's clock, in Hz."""
        try:
            done = subprocess.run([self.work, "hz"], capture_output=True, text=True, check=True)
            return float(done.stdout.partition("hz=")[2].split()[0])
        except (OSError, subprocess.SubprocessError, IndexError) as error:
            raise RingletError(
                f"the workload doesn't run here: {error}", "run `make`, or install ringlet again"
            ) from error

    def close(self) -> None:
        """Removes everything that the lab has made."""
        self._stack.close()


def ringlet_command() -> list[str]:
    """Returns the command by which a shell runs this installation of ringlet."""
    beside = Path(sys.executable).parent / "ringlet"
    if beside.exists():
        return [str(beside)]
    found = shutil.which("ringlet")
    if found is not None:
        return [found]
    return [sys.executable, "-c", "from ringlet.cli import main; main()"]
