"""The checks of lab 4's last step: a student's VMM, and what the kernel says of its memory.

The guest of these checks comes with page tables of its own, at random places.

Source: proc_pid_smaps(5); Linux, Documentation/virt/kvm/api.rst, 4.8 (KVM_GET_DIRTY_LOG).
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager

from ringlet.host.printable import printable
from ringlet.labs import process
from ringlet.labs.check import Failed
from ringlet.labs.program import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.labs.program import Program
    from ringlet.labs.work import Work

_PAGE, _LARGE = 4096, 2 << 20
_MEMORY = 16 << 20
_IMAGE = 64  # pages of the image, with the tables and the code
_PRESENT, _WRITABLE, _IS_LARGE = 1, 2, 1 << 7
_HLT = b"\xf4"
_TAG = 16  # offset in the image


class Guest:
    """A guest of 64-bit code, whose two parts write to pages that nobody knows beforehand."""

    def __init__(self) -> None:
        random = secrets.SystemRandom()
        self.image = bytearray(_IMAGE * _PAGE)
        self.tag = secrets.token_bytes(16)
        self._free = random.sample(range(1, _IMAGE), _IMAGE - 1)
        self._top = self._take()
        self.tables = {self._top}
        self.mapped: dict[int, int] = {}  # virtual pages of 4 KiB, with the physical ones
        self.large: dict[int, int] = {}
        base = random.randrange(1, 200) << 39 | random.randrange(512) << 30
        code = self._take()
        self.read = {code}  # KVM may take a page that was read for one that was written
        self._map(base, code, 12)
        data = random.sample(range(_IMAGE, _LARGE // _PAGE), 12)
        for number, page in enumerate(data):
            self._map(base + (random.randrange(1, 128) * 12 + number << 12), page, 12)
        for number, large in enumerate(random.sample(range(1, 8), 2)):
            self._map(base + (4 + random.randrange(50) * 2 + number) * _LARGE, large * 512, 21)
        self.rip, self.cr3 = base, self._top * _PAGE
        pages = [page for page in self.mapped if page != base]
        random.shuffle(pages)
        targets = [page + random.randrange(_PAGE) for page in pages[:8]]
        targets += [page + random.randrange(_LARGE) for page in self.large]
        random.shuffle(targets)
        self.parts = [targets[:5], targets[5:]]
        self.unused = pages[8:]
        self._write_image(code)

    def _take(self) -> int:
        return self._free.pop()

    def _map(self, virtual: int, page: int, last: int) -> None:
        """Maps `virtual` to the physical page `page`; `last` is 12, or 21 for a large page."""
        table = self._top
        for shift in (39, 30, 21, 12):
            at = table * _PAGE + (virtual >> shift & 511) * 8
            if shift == last:
                large = _IS_LARGE if last == 21 else 0
                entry = page * _PAGE | large | _WRITABLE | _PRESENT
                self.image[at : at + 8] = entry.to_bytes(8, "little")
                break
            entry = int.from_bytes(self.image[at : at + 8], "little")
            if not entry:
                entry = self._take() * _PAGE | _WRITABLE | _PRESENT
                self.image[at : at + 8] = entry.to_bytes(8, "little")
            table = entry // _PAGE
            self.tables.add(table)
        (self.large if last == 21 else self.mapped)[virtual] = page

    def _write_image(self, code: int) -> None:
        text = b""
        for part in self.parts:
            for address in part:  # mov rdi, address; mov [rdi], al
                text += b"\x48\xbf" + address.to_bytes(8, "little") + b"\x88\x07"
            text += _HLT
        text += b"\xeb\xfd"  # jmp to the hlt
        self.image[code * _PAGE : code * _PAGE + len(text)] = text
        self.image[:8] = self.rip.to_bytes(8, "little")
        self.image[8:16] = self.cr3.to_bytes(8, "little")
        self.image[_TAG : _TAG + 16] = self.tag

    def translate(self, address: int) -> int | None:
        """Returns where the address is in physical memory; None for nowhere."""
        if (page := self.mapped.get(address & -_PAGE)) is not None:
            return page * _PAGE + address % _PAGE
        if (page := self.large.get(address & -_LARGE)) is not None:
            return page * _PAGE + address % _LARGE
        return None

    def written(self, part: int) -> set[int]:
        """Returns the numbers of the physical pages that a part of the guest writes."""
        pages = {self.translate(address) for address in self.parts[part]}
        return {page // _PAGE for page in pages if page is not None}


class _Vmm:
    """The student's program, which takes commands and answers each with a line."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._lines = 0

    def ask(self, command: str) -> str:
        """Returns the answer. Raises `Failed` if there is none."""
        program = self.program
        program.send(command.encode() + b"\n")
        self._lines += 1
        if not program.wait_until(lambda: program.output.count(b"\n") >= self._lines):
            why = f": {program.finish().complaint}" if program.has_ended else ""
            raise Failed(f"the program gave no answer to `{command}`{why}")
        return program.output.split(b"\n")[self._lines - 1].decode(errors="replace").strip()

    def run(self) -> None:
        """Runs the guest to its next HLT."""
        if self.ask("run") != "halted":
            raise Failed("the guest didn't come to its HLT")


@contextmanager
def _vmm(work: Work, guest: Guest) -> Iterator[_Vmm]:
    files = {"grader.bin": bytes(guest.image)}
    command = (PYTHON, "outside.py", "grader.bin")
    with work.program(*command, files=files, kvm=True) as program:
        yield _Vmm(program)


def _pages_taken(pid: int, tag: bytes) -> int:
    """Returns how many pages of the guest's memory are in memory, as the kernel says.

    The grader reads the first page alone: to read a page is to make it.
    """
    is_guest = False
    for line in process.smaps(pid):
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            start, end = (int(address, 16) for address in first.split("-"))
            is_guest = (
                end - start >= _MEMORY and process.read_memory(pid, start + _TAG, len(tag)) == tag
            )
        elif first == "Rss:" and is_guest:
            return int(line.split()[1]) * 1024 // _PAGE
    raise Failed("the guest isn't in a mapping of 16 MiB of the program")


def finds_taken(work: Work) -> str:
    """The number of pages, before and after a run, is the kernel's."""
    guest = Guest()
    seen = []
    with _vmm(work, guest) as vmm:
        for part in (-1, 0, 1):
            if part >= 0:
                vmm.run()
            answer = vmm.ask("taken")
            truth = str(_pages_taken(vmm.program.pid, guest.tag))
            if answer != truth:
                raise Failed(f"after {part + 1} runs, taken is {printable(answer)}, not {truth}")
            seen.append(truth)
    if len(set(seen)) < 2:
        raise Failed("no page came when the guest ran")
    return f"{', '.join(seen)} of {_MEMORY // _PAGE} pages: before, and after each run"


def finds_dirty(work: Work) -> str:
    """The pages of each part of the guest, each once."""
    guest = Guest()
    with _vmm(work, guest) as vmm:
        vmm.ask("dirty")
        for part in (0, 1):
            vmm.run()
            answer = vmm.ask("dirty")
            try:
                pages = set(map(int, answer.split()))
            except ValueError:
                raise Failed(f"dirty is {printable(answer)}") from None
            wanted = guest.written(part)
            missing = sorted(wanted - pages)
            more = sorted(pages - wanted - guest.tables - guest.read)
            if missing or more:
                what = f"page {missing[0]} is missing" if missing else f"page {more[0]} is too many"
                raise Failed(f"in run {part + 1} the guest wrote {len(wanted)} pages: {what}")
    return "the pages of both runs, each run's own"


def translates(work: Work) -> str:
    """Addresses in pages of both sizes, and addresses that aren't mapped."""
    guest = Guest()
    addresses = [address for part in guest.parts for address in part]
    addresses += [page + secrets.randbelow(_PAGE) for page in guest.unused]
    # Beside a page, a large page, the table of these pages, and far away.
    neighbours = [*guest.mapped, *guest.large]
    addresses += [page + (1 << shift) for page in neighbours[:4] for shift in (12, 21, 30, 39)]
    secrets.SystemRandom().shuffle(addresses)
    with _vmm(work, guest) as vmm:
        for address in addresses:
            answer = vmm.ask(f"translate {address:#x}")
            physical = guest.translate(address)
            wanted = "none" if physical is None else f"{physical:#x}"
            if answer != wanted:
                raise Failed(f"{address:#x} is {printable(answer)}, not {wanted}")
    return f"{len(addresses)} addresses"
