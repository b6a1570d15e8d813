"""A program that reads an ELF's debug information from standard input, and writes JSON.

Debug information is hostile, and a library in Python reads it: pyelftools. No bound in that library
holds back a table of a billion entries of no bytes. So this is a process of its own, which limits
its memory, its time and its output. It imports nothing of ringlet.

The output is one object:

    files    the paths of source files
    lines    sequences: [[address, number of the file, line, 1 where a statement begins], ...],
             each with a last row whose line is 0
    frames   [first address, end, [[address, register, offset, {register: offset}], ...]]: the
             canonical frame address (CFA) is `register` + `offset`, and the caller's registers are
             saved at CFA + offset
    note     why there is nothing, or not all; "" if all is there

Source: DWARF 5, 6.2 (line numbers) and 6.4 (call frames); System V ABI, AMD64 supplement, 3.6.2
(the numbers of registers).
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import resource
import signal
import sys

from elftools.dwarf.callframe import CallFrameInfo
from elftools.elf.elffile import ELFFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIB = 1 << 20
MAX_SIZE = 64 * MIB  # of the ELF
MAX_MEMORY = 512 * MIB
MAX_TIME = 5  # seconds of processor time
MAX_OUTPUT = 16 * MIB
MAX_ROWS = 200_000  # of lines, and of frames
MAX_FILES = 20_000
MAX_PATH = 1024
MAX_LINE = 1 << 31
MASK = (1 << 64) - 1
RA = 16  # the number of the return address; the numbers below are the general registers'


class _SignalFrames(CallFrameInfo):
    """The frames of .debug_frame, where pyelftools refuses the augmentation of signal frames.

    gas writes "S" alone for `.cfi_signal_frame`, with no data (GNU as manual, "CFI directives").
    """

    def _parse_cie_augmentation(self, header: Any, entry_structs: Any) -> tuple[bytes, Any]:
        if header.get("augmentation") == b"S":
            return b"", {}
        found: tuple[bytes, Any] = super()._parse_cie_augmentation(header, entry_structs)
        return found


class Reader:
    """What is found so far; each method may end with any exception."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.lines: list[list[list[int]]] = []
        self.frames: list[list[Any]] = []
        self.note = ""
        self._rows = 0

    def read(self, data: bytes) -> None:
        """Reads what there is in an ELF."""
        elf = ELFFile(io.BytesIO(data))
        if not elf.has_dwarf_info():
            self.note = "the file has no debug information"
            return
        dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
        self._read_lines(dwarf)
        if dwarf.has_CFI():
            section: Any = dwarf.debug_frame_sec
            frames = _SignalFrames(section.stream, section.size, section.address, dwarf.structs)
            self._read_frames(frames.get_entries())
        if dwarf.has_EH_CFI():
            self._read_frames(dwarf.EH_CFI_entries())
        if not self.files:
            self.note = "the file's debug information names no source file"

    def _read_lines(self, dwarf: Any) -> None:
        seen = set()
        for unit in dwarf.iter_CUs():
            top = unit.get_top_DIE()
            table = top.attributes.get("DW_AT_stmt_list")
            if table is None or table.value in seen:
                continue
            seen.add(table.value)
            folder = top.attributes.get("DW_AT_comp_dir")
            program = dwarf.line_program_for_CU(unit)
            self._read_program(program, _text(folder.value if folder else b""))

    def _read_program(self, program: Any, folder: str) -> None:
        numbers: dict[int, int] = {}
        rows: list[list[int]] = []
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                rows.append([state.address & MASK, 0, 0, 0])
                self.lines.append(rows)
                rows = []
                continue
            if state.file not in numbers:
                numbers[state.file] = self._number(_path(program.header, state.file, folder))
            line = min(max(state.line, 0), MAX_LINE)
            address = state.address & MASK
            rows.append([address, numbers[state.file], line, int(bool(state.is_stmt))])
            self._count()

    def _number(self, path: str) -> int:
        if len(self.files) >= MAX_FILES:
            raise ValueError(f"more than {MAX_FILES} source files")
        return self.files.setdefault(path, len(self.files))

    def _count(self) -> None:
        self._rows += 1
        if self._rows > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS} rows")

    def _read_frames(self, entries: Any) -> None:
        for entry in entries:
            if "initial_location" not in entry.header:
                continue  # a CIE
            first = entry.header["initial_location"]
            rows = []
            for row in entry.get_decoded().table:
                self._count()
                cfa = row["cfa"]
                if cfa.expr is not None:
                    continue
                saved = {
                    register: rule.arg
                    for register, rule in row.items()
                    if isinstance(register, int) and register <= RA and rule.type == "OFFSET"
                }
                rows.append([row["pc"], cfa.reg, cfa.offset, saved])
            self.frames.append([first, first + entry.header["address_range"], rows])

    def report(self) -> str:
        """Returns the output."""
        return json.dumps(
            {
                "files": list(self.files),
                "lines": self.lines,
                "frames": self.frames,
                "note": self.note,
            },
            separators=(",", ":"),
        )


def _path(header: Any, number: int, folder: str) -> str:
    """Returns the path of a source file, from the file table of a line program (6.2.4)."""
    version = header["version"]
    entry = header["file_entry"][number if version >= 5 else number - 1]
    index = entry["dir_index"]
    folders = [b"", *header["include_directory"]] if version < 5 else header["include_directory"]
    within = _text(folders[index])
    return posixpath.normpath(posixpath.join(folder, within, _text(entry["name"])))[:MAX_PATH]


def _text(data: bytes) -> str:
    return bytes(data[:MAX_PATH]).decode("utf-8", "backslashreplace")


def _out_of_time(*_: object) -> None:
    raise TimeoutError(f"it takes more than {MAX_TIME} seconds")


def main() -> None:
    """Reads standard input, and writes standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_TIME, MAX_TIME + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))
    signal.signal(signal.SIGXCPU, _out_of_time)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    reader = Reader()
    try:
        size = os.fstat(0).st_size
        if size > MAX_SIZE:
            reader.note = f"the file has more than {MAX_SIZE // MIB} MiB"
        else:
            reader.read(os.pread(0, size, 0))
    except Exception as error:  # whatever hostile bytes make of a library
        reader.note = f"it can't be read: {type(error).__name__}: {str(error)[:200]}"
    sys.stdout.write(reader.report())
    sys.stdout.flush()


if __name__ == "__main__":
    main()
