"""A folder of kernel modules: as little of an ELF as `.modinfo` takes.

Source: System V ABI, "ELF Header" and "Sections".
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

RELEASE = "6.1.0-5-amd64"


def module(*needed: str, aliases: Sequence[str] = ()) -> bytes:
    """One that depends on `needed`, and that the kernel also asks for by `aliases`."""
    info = b"".join(f"alias={alias}\0".encode() for alias in aliases)
    info += b"license=GPL\0depends=" + ",".join(needed).encode() + b"\0retpoline=Y\0"
    info += f"vermagic={RELEASE} SMP preempt mod_unload \0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64 + 3 * 64
    sections = struct.pack("<2I4Q2I2Q", *(0,) * 10)
    sections += struct.pack("<2I4Q2I2Q", 1, 1, 0, 0, start, len(info), 0, 0, 1, 0)
    sections += struct.pack("<2I4Q2I2Q", 10, 3, 0, 0, start + len(info), len(names), 0, 0, 1, 0)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<2HI3QI6H", 1, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 2)
    return header + sections + info + names


def modules_folder(folder: Path, modules: Mapping[str, bytes], builtin: Sequence[str] = ()) -> Path:
    """A /lib/modules/RELEASE of `modules`, by the paths of their files."""
    for path, data in modules.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    paths = (path.partition(".ko")[0] + ".ko" for path in modules)
    (folder / "modules.order").write_text("".join(f"{path}\n" for path in paths))
    (folder / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in builtin))
    return folder
