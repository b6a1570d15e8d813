"""Each path of a configuration, in each form that leads out of the root for who doesn't look."""

import copy
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch.helper import LaunchError
from ringlet.container.spec.config_json import SpecError

from .box import Box
from .test_attack_images import seen

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]

SECRET = "what the host keeps"
UP = "/.." * 20


def link(box: Box, name: str, target: object) -> str:
    (box.rootfs / name).symlink_to(str(target))
    return f"/{name}"


# Of these, one leads to `outside` where it is looked up with the host's root, or without one.
FORMS: dict[str, Callable[[Box, Path], str]] = {
    "climbs": lambda box, outside: f"{UP}{outside}",
    "climbs later": lambda box, outside: f"/tmp{UP}{outside}",
    "is not normalised": lambda box, outside: f"//.{UP}/.//{outside}/.",
    "a link": lambda box, outside: link(box, "link", outside),
    "a relative link": lambda box, outside: link(
        box, "link", os.path.relpath(outside, os.path.realpath(box.rootfs))
    ),
    "a link to a link": lambda box, outside: link(
        box, "first", link(box, "second", f"{UP[1:]}{outside}")[1:]
    ),
    "a link on the way": lambda box, outside: f"{link(box, 'up', outside.parent)}/{outside.name}",
}
# These have no such place on the host, or none yet.
HARDER: dict[str, Callable[[Box, Path], str]] = {
    "by a root": lambda box, outside: f"/proc/1/root{outside}",
    "by its own root": lambda box, outside: f"/proc/self/root{UP}{outside}",
    "by a working directory": lambda box, outside: f"/proc/self/cwd{UP}{outside}",
    "by a task": lambda box, outside: f"/proc/thread-self/root{outside}",
    "by a link to a root": lambda box, outside: link(box, "link", f"/proc/self/root{outside}"),
    "a link in a circle": lambda box, outside: link(box, "link", "/link"),
    "a name too long": lambda box, outside: f"/{'a' * 300}",
    "a path too long": lambda box, outside: "/a" * 3000,
    "a long way up": lambda box, outside: f"{'/..' * 1300}{outside}",
}


def mount(box: Box, path: str, **more: Any) -> None:
    box.mount(path, **more)


def bind(box: Box, path: str) -> None:
    volume = box.bundle / "volume"
    volume.mkdir(exist_ok=True)
    box.mount(path, type="bind", source=str(volume), options=["rbind"])


def file(box: Box, path: str) -> None:
    source = box.bundle / "file"
    source.touch()
    box.mount(f"{path}/made", type="bind", source=str(source), options=["bind"])


def device(box: Box, path: str) -> None:
    box.linux["devices"] = [{"path": f"{path}/made", "type": "c", "major": 1, "minor": 3}]


def hook(box: Box, path: str) -> None:
    box.config["hooks"] = {"startContainer": [{"path": f"{path}/program"}]}


FIELDS: dict[str, Callable[[Box, str], None]] = {
    "a bind's destination": bind,
    "a file's destination": file,
    "a tmpfs' destination": lambda box, path: mount(box, path, type="tmpfs", source="none"),
    "a tmpfs that copies": lambda box, path: mount(
        box, path, type="tmpfs", source="none", options=["tmpcopyup"]
    ),
    "a procfs' destination": lambda box, path: mount(box, path, type="proc", source="proc"),
    "a device": device,
    "a masked path": lambda box, path: box.linux.update(maskedPaths=[path]),
    "a read-only path": lambda box, path: box.linux.update(readonlyPaths=[path]),
    "the working directory": lambda box, path: box.process.update(cwd=path),
    "a new working directory": lambda box, path: box.process.update(cwd=f"{path}/made"),
    "the command": lambda box, path: box.process.update(args=[f"{path}/program"]),
    "PATH": lambda box, path: box.process.update(args=["program"], env=[f"PATH={path}"]),
    "a hook": hook,
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The host's: a secret, and a program that tells it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text(SECRET)
    (folder / "program").write_text(f"#!/bin/sh\necho {SECRET}\n")
    (folder / "program").chmod(0o755)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_plainly_it_leads_there(box: Box, outside: Path, form: str) -> None:
    assert Path(f"{box.rootfs}{FORMS[form](box, outside)}/secret").read_text() == SECRET


@pytest.mark.parametrize("field", FIELDS)
def test_no_path_leads_out(box: Box, outside: Path, field: str) -> None:
    config = box.config
    before = seen(outside), Path("/proc/self/mountinfo").read_text()
    for form, path_of in (FORMS | HARDER).items():
        box.config = copy.deepcopy(config)
        path = path_of(box, outside)
        tells = f"for f in secret program; do cat $f {path}/$f {path}/../outside/$f; done"
        box.process["args"] = ["/bin/sh", "-c", tells]
        FIELDS[field](box, path)
        with suppress(LaunchError, SpecError):
            made = box.create()
            box.start()
            box.wait(made)
        assert SECRET not in box.printed(), form
        assert (seen(outside), Path("/proc/self/mountinfo").read_text()) == before, form
        forget(box)


def forget(box: Box) -> None:
    """The links, and what was made in the root; and who is left."""
    for entry in set(os.listdir(box.rootfs)) - {"bin", "etc", "proc", "sys", "dev", "root", "home"}:
        subprocess.run(["rm", "-rf", box.rootfs / entry], check=True)  # too deep for rmtree
    (box.rootfs / "tmp").mkdir()
    box.forget()
    while box.running:
        os.kill(box.running[-1].pid, signal.SIGKILL)
        box.wait(box.running[-1])
