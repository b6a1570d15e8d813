"""The symbols of a kernel: which function lies at an address, and which address a name has.

The symbols come from the symbol table of an ELF, or from a text such as Linux's System.map and
/proc/kallsyms. Many images have no symbols. Their symbols stand in a debug file beside the image,
which has the same name with the ending `.debug`.

Source: System V ABI, chapter 4 (Sections; Symbol Table); nm(1) for the text; GDB's manual,
"Debugging Information in Separate Files", for .gnu_debuglink.

Symbols are hostile: this file bounds their number and their length, and escapes each name.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from contextlib import ExitStack
from struct import Struct, error, unpack_from

from ringlet.board.layout import KIB, MIB
from ringlet.boot.elf import MAGIC
from ringlet.boot.image import open_image
from ringlet.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NamedTuple

    from ringlet.boot.image import Image
else:
    from ringlet.host.named_tuple import NamedTuple

MAX_TABLE = 16 * MIB  # each of symbol table, names, and a text of symbols: a vmlinux has 5 MiB
MAX_DEBUG = 64 * MIB  # a debug file whose checksum is looked at
MAX_SECTIONS = 4096
MAX_NAME = 256
TEXT_REACH = 64 * KIB  # how far a symbol without a size reaches, at most

# One section header and one symbol, in the order of each class.
_SECTION = {32: Struct("<10I"), 64: Struct("<2I4Q2I2Q")}
_SYMBOL = {32: Struct("<3I2BH"), 64: Struct("<I2BH2Q")}
_SHT_SYMTAB = 2
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00  # sections of no place in memory
_STT_NOTYPE, _STT_OBJECT, _STT_FUNC = 0, 1, 2


class Symbol(NamedTuple):
    """A function, an object or a label: `size` bytes at `address`; size 0 if nobody says it."""

    address: int
    size: int
    name: str


class Symbols:
    """Symbols by address and by name."""

    def __init__(self, symbols: Iterable[Symbol] = ()) -> None:
        # At the same address, the last one counts: the one with the largest size.
        self._symbols = sorted(symbols)
        self._addresses = [symbol.address for symbol in self._symbols]
        self._by_name: dict[str, Symbol] = {}
        for symbol in self._symbols:
            self._by_name.setdefault(symbol.name, symbol)

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols)

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """Returns the symbol at an address, and the offset in the symbol; None if there is none."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return None
        symbol = self._symbols[index]
        offset = address - symbol.address
        return (symbol, offset) if offset < (symbol.size or TEXT_REACH) else None

    def address_of(self, name: str) -> int | None:
        """Returns the address of a name; None if there is no such symbol."""
        symbol = self._by_name.get(name)
        return None if symbol is None else symbol.address

    def names(self) -> list[str]:
        """Returns all names, sorted."""
        return sorted(self._by_name)

    def describe(self, address: int) -> str:
        """Returns `name` or `name+0x12` for an address, or "" if no symbol is there."""
        found = self.at(address)
        if found is None:
            return ""
        symbol, offset = found
        return f"{symbol.name}+{offset:#x}" if offset else symbol.name


def read_symbols(source: Image) -> Symbols:
    """Returns the symbols of an ELF, or of a text in the format of nm, System.map or kallsyms.

    An ELF without a symbol table, and a file of another kind, have no symbols. Raises `ImageError`
    for a table that contradicts itself or is too large.
    """
    try:
        if source.read(0, min(4, source.size)) == MAGIC:
            return Symbols(_elf_symbols(source))
        return Symbols(_text_symbols(source))
    except error as unsound:
        raise _unsound(source, str(unsound)) from unsound


def image_symbols(image: Image) -> Symbols:
    """Returns the symbols of an image, or of the debug file beside the image.

    Returns no symbols where the image and the debug file have none, and where these symbols can't
    be read: nothing that runs needs symbols.
    """
    try:
        symbols = read_symbols(image) if _is_elf(image) else Symbols()
        if symbols or (debug := debug_file(image)) is None:
            return symbols
        with debug:
            return read_symbols(debug)
    except ImageError:
        return Symbols()


def debug_file(image: Image) -> Image | None:
    """Opens the debug file beside an image; returns None if there is none, or not of this image."""
    path = os.path.splitext(image.name)[0] + ".debug"
    if not os.path.isfile(path):
        return None
    try:
        with ExitStack() as stack:
            debug = stack.enter_context(open_image(path))
            if not _belongs(debug, image):
                return None
            stack.pop_all()
            return debug
    except (ImageError, error):
        return None


def _is_elf(image: Image) -> bool:
    return image.size > 4 and image.read(0, 4) == MAGIC


def _belongs(debug: Image, image: Image) -> bool:
    """Returns whether the checksum in the image's .gnu_debuglink, if any, is the debug file's."""
    if not _is_elf(image):
        return True
    link = _find_section(image, b".gnu_debuglink")
    if link is None or len(link) < 8 or debug.size > MAX_DEBUG:
        return True
    return zlib.crc32(debug.read(0, debug.size)) == int.from_bytes(link[-4:], "little")


def _unsound(image: Image, what: str) -> ImageError:
    return ImageError(
        f"the symbols of {image.name} can't be read: {what}",
        "build it again; look at `readelf -SW`",
    )


class _Section(NamedTuple):
    """The header of a section; the fields in the order of sh_name to sh_entsize."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int


def _sections(image: Image) -> tuple[int, list[_Section], int]:
    """Returns 32 or 64, the headers of all sections, and the index of the section of names."""
    bits = 64 if image.read(0, 5)[4] == 2 else 32
    layout = "<40xQ10x3H" if bits == 64 else "<32xI10x3H"  # e_shoff; e_shentsize to e_shstrndx
    header = image.read(0, min(64, image.size))
    offset, size, count, names = unpack_from(layout, header)
    if offset == 0 or count == 0:
        return bits, [], 0
    if size != _SECTION[bits].size or count > MAX_SECTIONS:
        raise _unsound(image, f"it has {count} section headers of {size} bytes")
    table = image.read(offset, size * count)
    return bits, [_Section(*fields) for fields in _SECTION[bits].iter_unpack(table)], names


def _contents(image: Image, section: _Section) -> bytes:
    if section.size > MAX_TABLE:
        raise _unsound(image, f"a section of them has {section.size} bytes")
    return image.read(section.offset, section.size) if section.size else b""


def _find_section(image: Image, name: bytes) -> bytes | None:
    """Returns the contents of the section of this name, or None."""
    _, sections, index = _sections(image)
    if index >= len(sections):
        return None
    names = _contents(image, sections[index])
    for section in sections:
        if names[section.name : section.name + len(name) + 1] == name + b"\0":
            return _contents(image, section)
    return None


def _elf_symbols(image: Image) -> Iterator[Symbol]:
    bits, sections, _ = _sections(image)
    for section in sections:
        if section.type != _SHT_SYMTAB:
            continue
        if section.link >= len(sections):
            raise _unsound(image, f"their names are in section {section.link}, which is missing")
        names = _contents(image, sections[section.link])
        table = _contents(image, section)
        entry = _SYMBOL[bits]
        for fields in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
            if bits == 64:
                name, info, _, index, address, size = fields
            else:
                name, address, size, info, _, index = fields
            if info & 0xF > _STT_FUNC or not _SHN_UNDEF < index < _SHN_LORESERVE:
                continue
            if text := _name(names[name : name + MAX_NAME]):
                yield Symbol(address, size, text)


def _text_symbols(image: Image) -> Iterator[Symbol]:
    """Yields the symbols of lines such as `ffffffff81000000 T _text`; skips all other lines."""
    if image.size > MAX_TABLE:
        raise _unsound(image, f"it is no ELF, and has {image.size} bytes")
    for line in image.read(0, image.size).split(b"\n"):
        words = line.split(maxsplit=3)
        if len(words) < 3 or len(words[1]) != 1 or words[1] in b"aAU":
            continue
        try:
            address = int(words[0], 16)
        except ValueError:
            continue
        if 0 < address < 1 << 64 and (name := _name(words[2])):
            yield Symbol(address, 0, name)


def _name(data: bytes) -> str:
    """Returns a name up to its NUL, at most MAX_NAME characters, with nothing unprintable."""
    name = data[:MAX_NAME].split(b"\0", 1)[0].decode("ascii", "backslashreplace")
    return name if name.isprintable() else ascii(name)[1:-1]
