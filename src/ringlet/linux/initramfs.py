"""Builds an initramfs whose init carries out a plan. csrc/init/plan.c describes plans.

Source: Linux, Documentation/filesystems/ramfs-rootfs-initramfs.rst.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path

from ringlet.errors import ConfigError, ImageError, RingletError
from ringlet.host.plan_word import plan_word
from ringlet.linux.cpio import FOLDER, Entry, link, write
from ringlet.linux.elf_file import EM_X86_64, PT_INTERP, ElfFile
from ringlet.linux.kernel_modules import module_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from ringlet.linux.kernel_modules import Module

INIT = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_init", "init")


def plan_line(key: str, *words: str | bytes | Path | int) -> bytes:
    """Returns a line of a plan. Raises `ConfigError` for a word with a zero byte."""
    texts = [str(word) if isinstance(word, int) else os.fsdecode(word) for word in words]
    for text in texts:
        if "\0" in text:
            raise ConfigError(f"there is a zero byte in {text!r}", "no program can be given one")
    return " ".join([key, *map(plan_word, texts)]).encode("ascii")


def shell(command: str) -> list[bytes]:
    """Returns the lines of a plan that run `command` in a shell."""
    return [plan_line("arg", word) for word in ("sh", "-c", command)]


def find_busybox() -> Path:
    """Returns the path of the host's busybox. Raises `ImageError` if a guest can run none."""
    path = shutil.which("busybox")
    if path is None or not _is_static(path):
        raise ImageError(
            "there is no busybox here" if path is None else f"{path} needs shared libraries",
            "install a static one (Debian: apt install busybox-static)",
        )
    return Path(path)


def _is_static(path: str) -> bool:
    """Returns whether the file is an x86-64 program that needs no dynamic loader."""
    try:
        elf = ElfFile(Path(path).read_bytes())
        return elf.machine == EM_X86_64 and PT_INTERP not in elf.segment_types()
    except ValueError:
        return False


def build(
    out: BinaryIO,
    *,
    plan: Sequence[bytes],
    copies: Sequence[tuple[str | Path, str]] = (),
    modules: Path | None = None,
    module_names: Sequence[str] = (),
    module_parameters: Mapping[str, str] | None = None,
    on_demand: Sequence[str] = (),
    busybox: Path | None = None,
) -> None:
    """Writes an initramfs that carries out `plan` to `out`. Raises `RingletError`.

    `copies` are files and folders of the host, each with its path in the guest. Links and
    permissions are kept, and a later copy replaces an earlier one of the same path.

    `modules` is the kernel's /lib/modules/RELEASE. Init first loads the modules `module_names` and
    the modules that they depend on; `module_parameters` has the parameters of some, by name.
    busybox loads those of `on_demand` when the kernel requests them. `busybox` becomes
    /bin/busybox, with a link in /bin for each of its applets whose name is still free.
    """
    entries: dict[str, Entry] = {"tmp": Entry(stat.S_IFDIR | 0o1777), "root": FOLDER, "mnt": FOLDER}
    entries |= {"dev/console": Entry(stat.S_IFCHR | 0o600, device=(5, 1))}
    for source, target in copies:
        _copy(entries, os.fspath(source), target)
    if busybox is not None:
        entries["bin/busybox"] = _file(str(busybox), 0o755)
        for applet in _applets(busybox):
            entries.setdefault(f"bin/{applet}", link("busybox"))
    lines = list(plan)
    if module_names:
        lines[:0] = _add_modules(entries, modules, module_names, module_parameters or {})
    if on_demand:
        _add_on_demand(entries, modules, on_demand)
    if not os.path.exists(INIT):
        raise RingletError(
            "ringlet's init isn't built", "run `make` in the checkout, or install ringlet again"
        )
    entries["init"] = _file(INIT, 0o755)
    entries["plan"] = _bytes(b"".join(line + b"\n" for line in lines))
    write(out, entries)


def _add_modules(
    entries: dict[str, Entry],
    folder: Path | None,
    names: Sequence[str],
    parameters: Mapping[str, str],
) -> Iterator[bytes]:
    for module in _module_files(folder, names):
        path = f"modules/{module.name}.ko"
        entries[path] = _bytes(module.data)
        own = [parameters[module.name]] if module.name in parameters else []
        yield plan_line("module", f"/{path}", *own)


def _add_on_demand(entries: dict[str, Entry], folder: Path | None, names: Sequence[str]) -> None:
    """Adds modules as depmod(8) would: the kernel runs modprobe(8), which finds them there.

    /etc/filesystems tells mount(8) which file systems to try.
    """
    found = _module_files(folder, names)
    if not found:
        return
    place = f"lib/modules/{found[0].release}"
    needs: dict[str, list[str]] = {}  # each module, after the modules that it needs
    dependencies, aliases, filesystems = [], [], []
    for module in found:
        below = [name for needed in module.needs for name in needs.get(needed, ())]
        needs[module.name] = [*dict.fromkeys(below), module.name]
        file, *others = (f"{name}.ko" for name in reversed(needs[module.name]))
        dependencies.append(f"{file}: {' '.join(others)}")
        aliases += [f"alias {alias} {module.name}" for alias in module.aliases]
        filesystems += [alias[3:] for alias in module.aliases if alias.startswith("fs-")]
        entries[f"{place}/{file}"] = _bytes(module.data)
    entries[f"{place}/modules.dep"] = _lines(dependencies)
    entries[f"{place}/modules.alias"] = _lines(aliases)
    entries.setdefault("etc/filesystems", _lines(filesystems))
    entries.setdefault("sbin/modprobe", link("/bin/busybox"))


def _module_files(folder: Path | None, names: Sequence[str]) -> list[Module]:
    if folder is None:
        raise ConfigError("modules are asked for, but not where they are", "give their folder")
    return module_files(folder, names)


def _lines(lines: Sequence[str]) -> Entry:
    return _bytes(os.fsencode("".join(f"{line}\n" for line in lines)))


def _bytes(data: bytes) -> Entry:
    return Entry(stat.S_IFREG | 0o644, data)


def _applets(busybox: Path) -> list[str]:
    try:
        listed = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ImageError(f"{busybox} --list doesn't work: {error}", "is it a busybox?") from error
    return [name for name in listed.stdout.split() if name != "busybox"]


def _copy(entries: dict[str, Entry], source: str, target: str) -> None:
    """Adds `source` at `target`, and everything in it if it is a folder."""
    target = os.path.normpath("/" + target).lstrip("/")
    try:
        if not os.path.isdir(source):
            # For a link, the file that the link names is copied, not the link.
            _add(entries, os.path.realpath(source), target)
            return
        if target:
            _add(entries, os.path.realpath(source), target)
        for folder, folders, files in os.walk(source, onerror=_fail):
            inside = os.path.normpath(os.path.join(target, os.path.relpath(folder, source)))
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                _add(entries, path, os.path.normpath(os.path.join(inside, name)))
    except OSError as error:
        raise ConfigError(
            f"can't copy {error.filename or source}: {error.strerror}",
            "check its path and its permissions",
        ) from error


def _fail(error: OSError) -> None:
    raise error


def _add(entries: dict[str, Entry], path: str, name: str) -> None:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        entries[name] = link(os.readlink(path))
    elif stat.S_ISREG(status.st_mode):
        entries[name] = _file(path, stat.S_IMODE(status.st_mode))
    elif stat.S_ISSOCK(status.st_mode):
        pass  # a copy of a socket would have no listener
    else:
        numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
        entries[name] = Entry(status.st_mode, device=numbers)


def _file(path: str, permissions: int) -> Entry:
    return Entry(stat.S_IFREG | permissions, partial(_open, path))


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise ConfigError(
            f"can't read {path}: {error.strerror}", "check its permissions"
        ) from error
