"""The configuration of a Linux kernel: inside the kernel (IKCONFIG), or in a file beside it.

Source: Linux, kernel/configs.c (a gzip file between IKCFG_ST and IKCFG_ED) and
Documentation/kbuild/kconfig.rst.
"""

from __future__ import annotations

import os
import re
import zlib

import msgspec

from ringlet.boot import open_image
from ringlet.errors import ImageError
from ringlet.host.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.boot import Kernel

_START = b"IKCFG_ST"
_MOST = 4 << 20  # bytes of a configuration; a distribution's has some 300 KiB
_CHUNK = 1 << 20
_SEARCHED = 512 << 20  # bytes of a kernel that are searched; a large kernel has 60 MiB
_RELEASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]{0,63}")
_SET = re.compile(rb"^CONFIG_([A-Za-z0-9_]{1,200})=(.{0,2000})$", re.MULTILINE)

# What of a configuration matters to a guest of ringlet: the first option that is set counts.
MATTERS = {
    "ACPI": ("ACPI",),
    "ACPI power button": ("ACPI_BUTTON",),
    "8250 console": ("SERIAL_8250_CONSOLE",),
    "initrd": ("BLK_DEV_INITRD",),
    "devtmpfs": ("DEVTMPFS",),
    "virtio-mmio": ("VIRTIO_MMIO",),
    "virtio-blk": ("VIRTIO_BLK",),
    "ext4": ("EXT4_FS",),
    "pvpanic": ("PVPANIC_MMIO", "PVPANIC"),  # PVPANIC alone before Linux 5.13
    "KVM guest": ("KVM_GUEST",),
    "PVH entry": ("PVH",),
    "CMOS clock": ("RTC_DRV_CMOS",),
    "several CPUs": ("SMP",),
    "KASLR": ("RANDOMIZE_BASE",),
}


class Option(msgspec.Struct, frozen=True):
    """An option that matters to ringlet: for what, its name, and `y`, `m` (module) or `n`."""

    what: str
    name: str
    value: str


class ConfigFacts(msgspec.Struct, frozen=True):
    """A kernel's configuration.

    source    `image`, or the path of the file that holds the configuration; None: nothing was found
    places    where a configuration beside the image was looked for
    built_in, modules, values   how many options are `y`, `m`, and another value
    matters   the options that matter to ringlet
    """

    source: str | None
    places: list[str]
    built_in: int = 0
    modules: int = 0
    values: int = 0
    matters: list[Option] = []


def find(kernel: Kernel, sign: bytes) -> int | None:
    """Returns the offset in the image of `sign`, searched for in the segments; None without it."""
    left = _SEARCHED
    for segment in kernel.executable.segments:
        start, end = segment.offset, min(segment.offset + segment.file_size, kernel.image.size)
        while start < end and left > 0:
            size = min(_CHUNK, end - start)
            at = kernel.image.read(start, size).find(sign)
            if at >= 0:
                return start + at
            if start + size == end:
                break
            start += size - len(sign) + 1  # the sign may lie across two chunks
            left -= size
    return None


def configuration(vmlinux: Kernel | None, path: str, release: str) -> tuple[ConfigFacts, bytes]:
    """Returns what a kernel's configuration says, and its text; the text may be empty.

    `vmlinux` is None if it can't be decompressed, `path` is the image that it comes from, and
    `release` is what `uname -r` says in the guest.
    """
    if vmlinux is not None and (inside := _inside(vmlinux)):
        return _facts("image", [], inside), inside
    places = _places(path, release)
    shown = [printable(place, 1000) for place in places]
    for place in places:
        if os.path.isfile(place) and (text := _read(place)):
            return _facts(printable(place, 1000), shown, text), text
    return ConfigFacts(None, shown), b""


def _inside(vmlinux: Kernel) -> bytes:
    at = find(vmlinux, _START)
    if at is None:
        return b""
    start = at + len(_START)
    data = vmlinux.image.read(start, min(_MOST, vmlinux.image.size - start))
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, _MOST)
    except zlib.error:
        return b""


def _places(path: str, release: str) -> list[str]:
    """Returns the paths where distributions put the configuration of a kernel."""
    folder, name = os.path.split(path)
    releases = [name.partition("-")[2], release]
    releases = [each for each in dict.fromkeys(releases) if _RELEASE.fullmatch(each)]
    return [
        place
        for each in releases
        for place in (
            os.path.join(folder, f"config-{each}"),
            f"/boot/config-{each}",
            f"/lib/modules/{each}/config",
        )
    ]


def _read(path: str) -> bytes:
    try:
        with open_image(path) as file:
            text = file.read(0, min(file.size, _MOST))
    except ImageError:
        return b""
    return text if _SET.search(text) else b""


def _facts(source: str, places: list[str], text: bytes) -> ConfigFacts:
    options = {name.decode(): value for name, value in _SET.findall(text)}
    values = list(options.values())
    built_in, modules = values.count(b"y"), values.count(b"m")
    matters = []
    for what, names in MATTERS.items():
        name = next((name for name in names if name in options), names[0])
        value = options.get(name, b"n")
        if value in (b"y", b"m", b"n"):
            matters.append(Option(what, f"CONFIG_{name}", value.decode()))
    return ConfigFacts(source, places, built_in, modules, len(values) - built_in - modules, matters)
