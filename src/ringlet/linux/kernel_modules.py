"""Finds a kernel's modules and the modules that they depend on, in /lib/modules/RELEASE.

Each module lists the modules that it needs. modules.dep, which the installation of a kernel makes,
isn't read, since a kernel that was only unpacked has no modules.dep.

Source: Linux, Documentation/kbuild/kbuild.rst (modules.order, modules.builtin); modpost.c and
include/linux/module.h (`depends=`, `alias=` and `vermagic=` in .modinfo), file2alias.c
(`virtio:dDEVICEvVENDOR`).
"""

from __future__ import annotations

import io
import os
from typing import NamedTuple

from ringlet.errors import ImageError
from ringlet.host.decoders import find
from ringlet.linux.elf_file import ElfFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

_SIZE_MAX = 256 << 20  # most bytes of a module; with debug information, some have 100 MiB
_DEEPEST = 100  # the longest chain of modules that need each other
_SUFFIXES = ("", ".xz", ".zst", ".gz")


class Module(NamedTuple):
    """A module: its name, with underscores, its ELF file, and the fields of its .modinfo.

    `needs` are the modules that it depends on directly, `aliases` the patterns by which the kernel
    requests the module, and `release` is the release of its kernel.
    """

    name: str
    data: bytes
    needs: tuple[str, ...]
    aliases: tuple[str, ...]
    release: str


def listed(folder: Path, names: Sequence[str]) -> list[str]:
    """Returns the modules of `names` that `folder` has. Raises `ImageError`."""
    paths = _index(folder, "modules.order")
    return [name for name in names if _canonical(name) in paths]


def has_driver(folder: Path, name: str) -> bool:
    """Returns whether the kernel of `folder` has the module, or has it built in.

    Raises `ImageError`.
    """
    return bool(listed(folder, [name])) or name in _index(folder, "modules.builtin")


def module_files(folder: Path, names: Sequence[str]) -> list[Module]:
    """Returns the modules `names` and those they depend on, in the order in which they can load.

    `folder` is the kernel's /lib/modules/RELEASE. Modules that are built into the kernel are left
    out. Raises `ImageError` for a module that is missing or can't be read.
    """
    builtin = _index(folder, "modules.builtin")
    paths = _index(folder, "modules.order")
    found: dict[str, Module] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        name = _canonical(name)
        if name in found or name in builtin:
            return
        if name in above:
            raise ImageError(f"module {name} depends on itself", "install the kernel again")
        if len(above) > _DEEPEST:
            raise ImageError(f"module {name} is needed too deep down", "install the kernel again")
        if name not in paths:
            raise ImageError(
                f"{folder} has no module {name}", "is it the folder of this kernel's release?"
            )
        file = _find_file(folder / paths[name])
        if file is None:
            raise ImageError(f"there is no {folder / paths[name]}", "install the kernel again")
        module = _parse(name, _read(*file))
        for needed in module.needs:
            add(needed, (*above, name))
        found[name] = module

    for name in names:
        add(name, ())
    return list(found.values())


def drivers(folder: Path, device_ids: Collection[int]) -> list[str]:
    """Returns the names of the modules in `folder` that drive virtio devices of these types.

    If no module drives a type, the kernel may have the driver built in. Raises `ImageError`.
    """
    if not device_ids:
        return []
    wanted = tuple(f"virtio:d{number:08X}v" for number in device_ids)
    found = []
    for name, path in _index(folder, "modules.order").items():
        # The path of every virtio driver of Linux contains "virtio", and to read all modules would
        # take long. A fetched kernel lacks some of the modules that it lists.
        if "virtio" in path and (file := _find_file(folder / path)) is not None:
            aliases = _parse(name, _read(*file)).aliases
            if any(alias.startswith(wanted) for alias in aliases):
                found.append(name)
    return found


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def _index(folder: Path, file: str) -> dict[str, str]:
    """Returns the path of each module that `file` lists, by the module's name."""
    try:
        lines = (folder / file).read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise ImageError(
            f"{folder} isn't a kernel's modules: {file}: {error.strerror}",
            "it is a folder /lib/modules/RELEASE that is wanted",
        ) from None
    return {
        _canonical(os.path.basename(line).removesuffix(".ko")): line
        for line in lines
        if line[:1] != "/" and ".." not in line
    }


def _find_file(path: Path) -> tuple[Path, str] | None:
    """Returns the file at `path`, or at `path` with a compression's suffix, and that suffix."""
    named = ((path.with_name(path.name + suffix), suffix) for suffix in _SUFFIXES)
    return next(((file, suffix) for file, suffix in named if file.is_file()), None)


def _read(file: Path, suffix: str) -> bytes:
    """Reads and decompresses the module in `file`."""
    try:
        with file.open("rb") as source:
            data = source.read(_SIZE_MAX + 1)
        data = _decompress(suffix, data)
    except (OSError, EOFError, ValueError) as error:
        raise ImageError(f"{file}: {error}", "install the kernel again") from error
    except ImportError as error:
        raise ImageError(
            f"{file} is compressed, and {error.name} can't be imported",
            f"install it: pip install {error.name}",
        ) from error
    if len(data) > _SIZE_MAX:
        raise ImageError(f"{file} has more than {_SIZE_MAX} bytes", "is it a module?")
    return data


def _decompress(suffix: str, data: bytes) -> bytes:
    """Decompresses `data`, and stops beyond the most bytes of a module. Raises `ValueError`."""
    if not suffix:
        return data
    name, decoder = find(data[:8])
    if decoder is None:
        raise ValueError(f"it is compressed as {name}")
    out = bytearray()
    for part in decoder(io.BytesIO(data)):
        out += part
        if len(out) > _SIZE_MAX:
            return bytes(out)
    if name == "zstd":
        # Its decoder reports no error for truncated data.
        import zstandard  # noqa: PLC0415 (most modules are compressed otherwise)

        if len(out) < zstandard.frame_content_size(data):
            raise ValueError("it is cut short")
    return bytes(out)


def _parse(name: str, data: bytes) -> Module:
    try:
        fields = ElfFile(data).section(b".modinfo").decode("utf-8", "surrogateescape").split("\0")
    except ValueError as error:
        raise ImageError(f"{name} is no kernel module: {error}", "install the kernel again") from (
            error
        )

    def values(key: str) -> list[str]:
        return [field.removeprefix(key) for field in fields if field.startswith(key)]

    needs = [_canonical(n) for value in values("depends=") for n in value.split(",") if n]
    release = "".join(values("vermagic=")).partition(" ")[0]
    return Module(name, data, tuple(needs), tuple(values("alias=")), release)
