"""runc, of the Open Container Initiative, with the configuration of ringlet's container.

Source: OCI Runtime Specification 1.0.2, config.md; runc(8).
"""

from __future__ import annotations

import json
import os
import subprocess
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.ways.base import Rival
from ringlet.compare.ways.container import config
from ringlet.container.describe import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request

VERSION = "1.0.2"  # of the specification; the configuration needs no newer one


class Way(Rival):
    """The workload in an OCI bundle, run by `runc run`."""

    name = "runc"
    title = "runc"
    about = "The runtime below Docker, with the namespaces, limits and filter of ringlet's."
    program = "runc"
    package = "runc"

    def prepare(self) -> None:
        """Makes a folder for the bundles and the state."""
        self._folder = Path(mkdtemp(prefix=f"{self.name}-", dir=self._lab.folder))
        self._bundles: dict[str, str] = {}
        self._numbers = count(1)

    def command(self, request: Request) -> list[str]:
        """Returns `runc run --bundle BUNDLE ID`."""
        bundle = self._bundle(request)
        identifier = f"ringlet-compare-{next(self._numbers)}"
        return [
            *(self.program, "--root", str(self._folder / "state")),
            *("run", "--bundle", bundle, identifier),
        ]

    def spawn(self, request: Request) -> Run:
        """Starts the command as a process of its own."""
        return Run(self.command(request), input=request.reads_input)

    def _bundle(self, request: Request) -> str:
        described, _ = describe(config(self._lab.rootfs, request))
        for mount in described["mounts"]:
            if mount["destination"] == self.disk:  # a file, to which everybody may write
                mount["options"] = ["bind", "nosuid", "nodev"]
        text = json.dumps(described | {"ociVersion": VERSION}, indent=2)
        if text not in self._bundles:
            bundle = self._folder / f"bundle-{len(self._bundles) + 1}"
            bundle.mkdir()
            (bundle / "config.json").write_text(text)
            self._bundles[text] = str(bundle)
        return self._bundles[text]


class Run(Spawned):
    """A run of a runtime. If it is killed during the creation, a half-made container is left."""

    def close(self) -> None:
        """Ends the run, and deletes a container that is left."""
        if self.closed:
            return
        super().close()
        program, root, state, *_, identifier = self.command
        if os.path.exists(os.path.join(state, identifier)):
            words = [program, root, state, "delete", "--force", identifier]
            subprocess.run(words, capture_output=True, check=False)
