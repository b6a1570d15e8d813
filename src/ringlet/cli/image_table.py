"""Shows the facts of an image to people, as `ringlet inspect` does."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ringlet.board.layout import KIB, MIB
from ringlet.cli.rich_console import OutputConsole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ringlet.observe.inspection.entry_code import EntryFacts
    from ringlet.observe.inspection.image_facts import ImageFacts
    from ringlet.observe.inspection.kernel_config import ConfigFacts
    from ringlet.observe.inspection.linux_image import Header, LinuxFacts

_WORDS = {"y": "built in", "m": "a module", "n": "missing"}
_STYLES = {"yes": "bold green", "no": "dim"}
# How the memory's least size is shown: in the largest unit that divides it.
_UNITS = ((MIB, "MiB"), (KIB, "KiB"))


def print_facts(facts: ImageFacts) -> None:
    """Prints all that is known of an image, on standard output.

    Each text becomes a `Text`, in which rich sees no markup.
    """
    console = OutputConsole(highlight=False)

    def line(what: str, value: str) -> None:
        console.print(Text.assemble((f"{what:12}", "bold cyan"), value), soft_wrap=True)

    line("Image", f"{facts.name}, {facts.size:,} bytes")
    line("Begins with", facts.magic)
    line("Protocol", f"{facts.protocol}: {facts.why}" if facts.protocol else "none")
    if facts.looks:
        rows = [(look.protocol, look.sign, "yes" if look.has else "no") for look in facts.looks]
        _print_table(console, ("For", "Ringlet looked for", "Found"), rows)
    if facts.entry is not None:
        _print_entry(console, facts.entry)
    if facts.segment_count:
        _print_segments(console, facts)
    if facts.note_count:
        notes = [(note.owner, note.name or f"type {note.type}", note.value) for note in facts.notes]
        _print_table(console, ("Note of", "Type", "Value"), notes, facts.note_count)
    if facts.note_error is not None:
        line("Notes", f"not readable: {facts.note_error}")
    if facts.memory is not None:
        usual = _amount(facts.memory.usual)
        line("Memory", f"{_amount(facts.memory.least)} at least; {usual} without --memory")
    if facts.linux is not None:
        _print_linux(console, facts.linux)


def _print_table(
    console: Console,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    count: int = 0,
    numbers: Sequence[int] = (),
) -> None:
    """Prints a table, and how many of its `count` rows are left out.

    The columns `numbers` are aligned to the right.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column, head in enumerate(heads):
        table.add_column(head, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)
    if count > len(rows):
        console.print(f"... and {count - len(rows)} more\n")


def _print_entry(console: Console, entry: EntryFacts) -> None:
    prefix = {16: "", 32: "e", 64: "r"}[entry.bits]
    given = ", ".join(f"{prefix}{name[1:]} = {value:#x}" for name, value in entry.registers.items())
    where = f"{entry.address:#x} ({entry.symbol})" if entry.symbol else f"{entry.address:#x}"
    title = f"{where}, in {entry.mode}"
    console.print(Text.assemble((f"{'Entry':12}", "bold cyan"), title), soft_wrap=True)
    console.print(Text(f"{'':12}{given or 'all general registers are 0'}"), soft_wrap=True)
    if entry.code:
        rows = [(f"{each.address:#x}", each.bytes, each.text) for each in entry.code]
        _print_table(console, ("Address", "Bytes", "Instruction"), rows)
    else:
        console.print(f"{'':12}the file has no bytes for this address\n")


def _print_segments(console: Console, facts: ImageFacts) -> None:
    rows = [
        (
            f"{segment.offset:#x}",
            f"{segment.address:#x}",
            f"{segment.file_size:#x}",
            f"{segment.memory_size:#x}",
            segment.rights or "",
        )
        for segment in facts.segments
    ]
    heads = ("File offset", "Physical address", "Size in file", "Size in memory", "Rights")
    _print_table(console, heads, rows, facts.segment_count, numbers=(0, 1, 2, 3))


def _print_linux(console: Console, linux: LinuxFacts) -> None:
    rows = [("Version", linux.version or "not stated")]
    if linux.header is not None:
        rows += _header_rows(linux.header)
    rows += _config_rows(linux.config)
    _print_table(console, ("Linux", ""), rows)


def _header_rows(header: Header) -> list[tuple[str, str]]:
    payload = header.payload
    decompressor = f"the guest, since {payload.error}" if payload.error else "the host"
    return [
        ("Boot protocol", header.boot_protocol),
        ("xloadflags", ", ".join(header.xloadflags) or "none"),
        ("Payload", f"{payload.compression}, {payload.size:,} bytes for {payload.becomes:,}"),
        ("Decompressed by", decompressor),
        ("Its decompressor", f"starts at {header.entry:#x}, {header.entry_bits}-bit code"),
        ("pref_address", f"{header.pref_address:#x}"),
        ("init_size", f"{header.init_size:#x}"),
        ("Relocatable", f"yes, by {header.alignment:#x}" if header.relocatable else "no"),
        ("Command line", f"{header.command_line_size} bytes at most"),
        ("Initrd", f"below {header.initrd_limit:#x}"),
    ]


def _config_rows(config: ConfigFacts) -> list[tuple[str, str]]:
    if config.source is None:
        places = ", ".join(config.places) or "beside the image"
        return [("Configuration", f"not in the image, nor found as {places}")]
    where = "in the image" if config.source == "image" else config.source
    counts = f"{config.built_in} options built in, {config.modules} modules, {config.values} values"
    rows = [("Configuration", f"{where}: {counts}")]
    for option in config.matters:
        rows.append((f"  {option.what}", f"{_WORDS[option.value]} ({option.name})"))
    return rows


def _amount(size: int) -> str:
    for unit, name in _UNITS:
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
