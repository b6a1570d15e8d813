"""What a Linux kernel finds at its entry, by which way it gets there, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet import Machine, MachineConfig
from ringlet.board import layout
from ringlet.boot import Entry, open_image, open_kernel
from ringlet.boot.linux import command_line
from ringlet.errors import ConfigError, ImageError, RingletError
from ringlet.kvm.memory import GuestMemory

from ..examples import examples
from .bzimage_builder import (
    CODE,
    END,
    FIELDS,
    INIT_SIZE,
    LINUX_NOTE,
    LOAD_ADDRESS,
    OFFSET,
    PAYLOAD,
    VMLINUX,
    bzimage,
    payload,
)
from .elf_builder import Part, build
from .guest import guest_memory, number, string, written_outside

MEMORY = 8 << 20
ZERO_PAGE = layout.ZERO_PAGE
BOOT_DATA = (layout.BOOT_DATA, layout.SETUP_DATA + layout.SETUP_DATA_SIZE - layout.BOOT_DATA)
# How a kernel is entered: a vmlinux, a bzImage that the guest decompresses, or that the host does.
WAYS = {
    "vmlinux": (VMLINUX, None),
    "guest": (bytes(bzimage()), False),
    "host": (bytes(bzimage()), True),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def boot(
    memory: GuestMemory,
    image: bytes | bytearray,
    decompress: bool | None = None,
    *,
    line: bytes = b"",
    modules: Sequence[tuple[bytes, bytes]] = (),
) -> Entry:
    opened = [(open_image(data), arguments) for data, arguments in modules]
    try:
        with open_kernel(bytes(image), "linux") as kernel:
            return kernel.load(memory, command_line=line, modules=opened, decompress=decompress)
    finally:
        for module, _ in opened:
            module.close()


def refused(
    error: type[RingletError],
    message: str,
    image: bytes | bytearray,
    decompress: bool | None = None,
    *,
    size: int = MEMORY,
    line: bytes = b"",
    modules: Sequence[tuple[bytes, bytes]] = (),
) -> RingletError:
    with guest_memory(size) as memory:
        with pytest.raises(error, match=message) as caught:
            boot(memory, image, decompress, line=line, modules=modules)
        assert not written_outside(memory, [])
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return caught.value


@EVERY_WAY
def test_the_kernel_is_entered_in_long_mode_with_rsi_the_zero_page(way: str) -> None:
    with guest_memory(MEMORY) as memory:
        registers, special = boot(memory, *WAYS[way])
        offset = 0x200 if way == "guest" else 0x10
        assert registers == registers._replace(
            rsi=ZERO_PAGE, rip=LOAD_ADDRESS + offset, rflags=2, rbx=0, rbp=0, rdi=0
        )
        assert (special.cr0, special.cr4, special.efer) == (0x80000011, 0x20, 0x500)
        assert (special.cs.selector, special.cs.l) == (0x10, 1)
        assert {special.ds.selector, special.es.selector, special.ss.selector} == {0x18}
        assert special.gdt == (layout.GDT, 0x1F)
        assert number(memory, layout.GDT + 0x10, 8) == 0x00AF9B000000FFFF
        assert number(memory, layout.GDT + 0x18, 8) == 0x00CF93000000FFFF
        assert number(memory, special.cr3, 8) & 1


@pytest.mark.parametrize("way", ["vmlinux", "host"])
def test_a_vmlinux_lies_at_its_physical_addresses(way: str) -> None:
    with guest_memory(MEMORY) as memory:
        boot(memory, *WAYS[way])
        assert memory.read(LOAD_ADDRESS, 65) == CODE.data + b"\0"
        assert not written_outside(memory, [BOOT_DATA, (LOAD_ADDRESS, 64)])


@pytest.mark.parametrize("way", ["vmlinux", "host", "guest"])
def test_a_kernel_knows_what_it_has_loaded(way: str) -> None:
    image, decompress = WAYS[way]
    with guest_memory(MEMORY) as memory, open_kernel(bytes(image), "linux") as kernel:
        kernel.load(memory, decompress=decompress)
        (segment,) = kernel.loaded.segments
        assert segment.address == LOAD_ADDRESS
        assert segment.virtual == (LOAD_ADDRESS if way == "guest" else CODE.virtual)


def test_a_bzimage_for_the_guest_to_decompress_lies_at_its_load_address() -> None:
    image = bytes(bzimage())
    with guest_memory(MEMORY) as memory:
        boot(memory, image, False)
        assert memory.read(LOAD_ADDRESS, len(image) - OFFSET) == image[OFFSET:]
        assert not written_outside(memory, [BOOT_DATA, (LOAD_ADDRESS, len(image) - OFFSET)])


@EVERY_WAY
def test_the_zero_page_tells_what_the_loader_knows(way: str) -> None:
    with guest_memory(MEMORY) as memory:
        boot(memory, *WAYS[way], line=b"quiet")
        page = memory.read(ZERO_PAGE, 4096)
        assert FIELDS["boot_flag"].get(page) == 0xAA55
        assert FIELDS["header"].get(page) == int.from_bytes(b"HdrS", "little")
        assert FIELDS["version"].get(page) == (0x20C if way == "vmlinux" else 0x20F)
        assert FIELDS["type_of_loader"].get(page) == 0xFF
        assert FIELDS["loadflags"].get(page) == 1
        assert FIELDS["ramdisk_image"].get(page) == FIELDS["ramdisk_size"].get(page) == 0
        assert FIELDS["kernel_alignment"].get(page)
        assert number(memory, ZERO_PAGE + 0x70, 8) == layout.RSDP
        line = FIELDS["cmd_line_ptr"].get(page)
        assert string(memory, line) == b"console=ttyS0 panic=-1 quiet"


@pytest.mark.parametrize("decompress", [False, True])
def test_the_zero_page_has_the_kernels_own_setup_header(decompress: bool) -> None:
    image = bzimage()
    with guest_memory(MEMORY) as memory:
        boot(memory, image, decompress)
        page = memory.read(ZERO_PAGE, 4096)
    for name in FIELDS.keys() - {"type_of_loader", "cmd_line_ptr", "setup_data"}:
        assert FIELDS[name].get(page) == FIELDS[name].get(image), name
    assert page[0x1EF] == 0  # the sentinel: not copied from the image
    for first, end in ((0, 0x70), (0x78, 0x1E8), (0x26C, 0x2D0)):
        assert not any(page[first:end])


@EVERY_WAY
def test_the_memory_map_is_all_ram_but_the_hole_below_1_mib(way: str) -> None:
    with guest_memory((3 << 30) + (1 << 20)) as memory:
        boot(memory, *WAYS[way])
        count = number(memory, ZERO_PAGE + 0x1E8, 1)
        entries = [ZERO_PAGE + 0x2D0 + 20 * index for index in range(count)]
        assert [
            (number(memory, at, 8), number(memory, at + 8, 8), number(memory, at + 16, 4))
            for at in entries
        ] == [
            (0, 0x9FC00, 1),
            (0x9FC00, 0x60400, 2),
            (1 << 20, (3 << 30) - (1 << 20), 1),
            (4 << 30, 1 << 20, 1),
        ]


@EVERY_WAY
def test_the_kernels_random_generator_gets_a_fresh_seed(way: str) -> None:
    seeds = set()
    for _ in range(2):
        with guest_memory(MEMORY) as memory:
            boot(memory, *WAYS[way])
            at = FIELDS["setup_data"].get(memory.read(ZERO_PAGE, 4096))
            assert number(memory, at, 8) == 0  # the last one
            assert number(memory, at + 8, 4) == 9  # SETUP_RNG_SEED
            assert number(memory, at + 12, 4) == 32
            seeds.add(memory.read(at + 16, 32))
    assert len(seeds) == 2
    assert bytes(32) not in seeds


@pytest.mark.parametrize("fields", [{"xloadflags": 0}, {"version": 0x207, "jump": 0x2A}])
def test_a_kernel_for_32_bits_is_entered_in_protected_mode_with_a_gdt(
    fields: dict[str, int],
) -> None:
    image = bytes(bzimage(**fields))
    at = LOAD_ADDRESS if "xloadflags" in fields else 0x100000
    for decompress in (None, False):
        with guest_memory(MEMORY) as memory:
            registers, special = boot(memory, image, decompress)
            assert registers == registers._replace(
                rsi=ZERO_PAGE, rip=at, rflags=2, rbx=0, rbp=0, rdi=0
            )
            assert (special.cr0, special.cr3, special.cr4, special.efer) == (0x11, 0, 0, 0)
            assert (special.cs.selector, special.cs.db, special.cs.l) == (0x10, 1, 0)
            assert {special.ds.selector, special.es.selector, special.ss.selector} == {0x18}
            assert special.gdt == (layout.GDT, 0x1F)
            assert number(memory, layout.GDT + 0x10, 8) == 0x00CF9B000000FFFF
            assert number(memory, layout.GDT + 0x18, 8) == 0x00CF93000000FFFF
            assert memory.read(at, len(image) - OFFSET) == image[OFFSET:]
            assert not written_outside(memory, [BOOT_DATA, (at, len(image) - OFFSET)])
    refused(ImageError, "is a kernel for 32 bits, which decompresses itself", image, True)


# mov ax, 0x18; mov ds, ax: the GDT is there. mov eax, [esi + 0x228]; mov al, [eax + 23]: the
# command line, behind the defaults. out 0xf4, al
PRINT = b"\x66\xb8\x18\x00\x8e\xd8\x8b\x86\x28\x02\x00\x00\x8a\x40\x17\xe6\xf4"


@pytest.mark.needs_kvm
@pytest.mark.parametrize("fields", [{"xloadflags": 0}, {"version": 0x202, "jump": 0x2A}])
def test_a_kernel_for_32_bits_runs_and_finds_its_command_line(fields: dict[str, int]) -> None:
    image = bytes(bzimage(code=PRINT, **fields))
    config = MachineConfig(image=image, cmdline="*", serial="none", timeout=60, force=True)
    with Machine(config) as machine:
        result = machine.run()
    assert (result.reason, result.status) == ("exit-port", ord("*"))


# The initrd.


@EVERY_WAY
def test_the_initrd_lies_at_the_end_of_ram(way: str) -> None:
    with guest_memory(MEMORY) as memory:
        boot(memory, *WAYS[way], modules=[(b"initrd", b"")])
        page = memory.read(ZERO_PAGE, 4096)
        address = FIELDS["ramdisk_image"].get(page)
        assert address == MEMORY - 4096
        assert FIELDS["ramdisk_size"].get(page) == 6
        assert memory.read(address, 6) == b"initrd"


@pytest.mark.parametrize("decompress", [False, True])
def test_the_initrd_lies_below_the_kernels_limit_and_around_all_it_needs(decompress: bool) -> None:
    with guest_memory(MEMORY) as memory:
        image = bzimage(initrd_addr_max=END + 0xFFF)
        for size, address in [(4096, END), (4097, LOAD_ADDRESS - 8192)]:
            boot(memory, image, decompress, modules=[(bytes(size), b"")])
            page = memory.read(ZERO_PAGE, 4096)
            assert FIELDS["ramdisk_image"].get(page) == address


@EVERY_WAY
@pytest.mark.parametrize("modules", [[(b"a", b""), (b"b", b"")], [(b"a", b"line")]])
def test_more_than_an_initrd_is_refused(way: str, modules: list[tuple[bytes, bytes]]) -> None:
    refused(ConfigError, "Linux takes one module, its initrd", *WAYS[way], modules=modules)


def test_an_initrd_that_does_not_fit_is_refused() -> None:
    refused(ConfigError, "doesn't fit", bzimage(), modules=[(bytes(MEMORY), b"")])
    low = bzimage(initrd_addr_max=0)
    refused(ConfigError, "doesn't fit", low, modules=[(b"initrd", b"")])


# The command line.


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (b"", b"console=ttyS0 panic=-1"),
        (b"quiet", b"console=ttyS0 panic=-1 quiet"),
        (b"console=hvc0 quiet", b"panic=-1 console=hvc0 quiet"),
        (b"panic=5", b"console=ttyS0 panic=5"),
        (b"a panic=5 console=", b"a panic=5 console="),
        (b"panic", b"console=ttyS0 panic"),
        (b"netconsole=x panic_on_oops=1", b"console=ttyS0 panic=-1 netconsole=x panic_on_oops=1"),
        (b"quiet -- console=x", b"console=ttyS0 panic=-1 quiet -- console=x"),
    ],
)
def test_the_command_line_gets_defaults_for_what_it_does_not_name(
    given: bytes, line: bytes
) -> None:
    assert command_line(given) == line


@EVERY_WAY
def test_a_command_line_longer_than_the_kernel_takes_is_refused(way: str) -> None:
    room = 2047 - len(command_line(b"")) - 1
    with guest_memory(MEMORY) as memory:
        boot(memory, *WAYS[way], line=b"x" * room)
        assert len(string(memory, layout.COMMAND_LINE)) == 2047
    refused(
        ConfigError, "has 2048 bytes, the kernel takes 2047", *WAYS[way], line=b"x" * (room + 1)
    )


def test_a_command_line_longer_than_there_is_room_for_is_refused() -> None:
    image = bzimage(cmdline_size=1 << 20)
    refused(ConfigError, "4096 fit", image, line=b"x" * 4096)
    refused(ConfigError, "a NUL byte", image, line=b"x\0y")


# Memory.


@pytest.mark.parametrize("decompress", [None, False, True])
def test_too_little_memory_is_refused_with_how_much_it_takes(decompress: bool | None) -> None:
    with guest_memory(END) as memory:
        assert boot(memory, bzimage(), decompress)
    error = refused(ConfigError, "needs 3 MiB", bzimage(), decompress, size=END - 4096)
    assert "--memory 3M" in error.hint


def test_a_vmlinux_needs_what_its_segments_take() -> None:
    refused(ConfigError, "needs 3 MiB", VMLINUX, size=LOAD_ADDRESS + 0x2000)


# Who decompresses.


def test_without_a_wish_the_host_decompresses() -> None:
    with guest_memory(MEMORY) as memory:
        assert boot(memory, bzimage()).registers.rip == LOAD_ADDRESS + 0x10


CODE_32 = CODE._replace(virtual=None)
LOW = bytes(build(64, [Part(0xF000, b"\xf4" * 64), CODE], entry=LOAD_ADDRESS))
HIGH = bytes(build(64, [CODE, Part(END, b"\xf4")], entry=LOAD_ADDRESS))


@pytest.mark.parametrize(
    ("compressed", "message"),
    [
        (b"\x89LZO" + bytes(100), "is compressed as lzo"),
        (payload("gzip", b"no ELF"), "is not an ELF"),
        (payload("gzip", bytes(build(32, [CODE_32]))), "is a 32-bit ELF"),
        (payload("gzip", LOW), "a segment of it lies at 0xf000"),
        (payload("gzip", HIGH), "a segment of it lies at 0x300000 to 0x300001"),
        (payload("gzip", bytes(INIT_SIZE + 1)), "is the limit"),
        (payload("gzip")[:-10] + payload("gzip")[-4:], "can't be decompressed"),
        (b"", "has no payload"),
    ],
    ids=["lzo", "no-elf", "32-bit", "low", "high", "too-large", "cut-short", "none"],
)
def test_what_the_host_can_not_decompress_the_guest_does(compressed: bytes, message: str) -> None:
    image = bzimage(compressed)
    with guest_memory(MEMORY) as memory:
        assert boot(memory, image).registers.rip == LOAD_ADDRESS + 0x200
        assert memory.read(LOAD_ADDRESS, len(image) - OFFSET) == image[OFFSET:]
    refused(ImageError, message, image, True)


def test_a_vmlinux_in_low_memory_is_refused() -> None:
    refused(ImageError, "a segment of it lies at 0xf000", LOW)


def test_another_elf_or_file_is_no_linux() -> None:
    refused(ImageError, "is a 32-bit ELF", build(32, [CODE_32, LINUX_NOTE]))
    refused(ImageError, "is not a Linux kernel", b"text")


def test_nothing_stays_open(no_leak: None, tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    for image in (bzimage(), bzimage(b"\x89LZO" + bytes(100)), bzimage(payload("gzip", b"x"))):
        path.write_bytes(image)
        for _ in range(2):  # the second time from the cache
            with guest_memory(MEMORY) as memory, open_kernel(path) as kernel:
                kernel.load(memory)
                with pytest.raises(ConfigError):
                    kernel.load(memory, command_line=b"x" * 4096)


# Property tests: a bzImage with one or more things wrong with it.

SMALL = 4 << 20
EXTREMES = sorted(
    {base + delta for base in (0, 1 << 16, 1 << 32, 1 << 63, 1 << 64) for delta in (-1, 0, 1)}
    | {0x1000, 0x100000, LOAD_ADDRESS, INIT_SIZE, END, SMALL, 1 << 31, 3 << 30}
)
values = st.sampled_from(EXTREMES) | st.integers(0, (1 << 64) - 1)
changes = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), values), min_size=1, max_size=4)
flips = st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=6)
wishes = st.sampled_from([None, False, True])


def loaded_or_refused(image: bytes | bytearray, decompress: bool | None) -> Entry | None:
    """Load it; check that nothing is written but the boot data and where the kernel may lie."""
    with guest_memory(SMALL) as memory:
        try:
            entry = boot(memory, image, decompress)
        except RingletError:
            assert not written_outside(memory, [])
            return None
        assert layout.HIGH_MEMORY <= entry.registers.rip < SMALL
        high = (layout.HIGH_MEMORY, SMALL - layout.HIGH_MEMORY)
        assert not written_outside(memory, [BOOT_DATA, high])
        return entry


def test_the_image_below_loads_before_it_is_broken() -> None:
    for decompress in (None, False, True):
        assert loaded_or_refused(bzimage(), decompress)


@settings(max_examples=examples(600), deadline=None)
@given(changes, wishes)
def test_extreme_fields_are_loaded_or_refused(
    changes: list[tuple[str, int]], decompress: bool | None
) -> None:
    image = bzimage()
    for name, value in changes:
        FIELDS[name].put(image, value)
    loaded_or_refused(image, decompress)


@settings(max_examples=examples(600), deadline=None)
@given(flips, wishes)
def test_flipped_bytes_are_loaded_or_refused(
    flips: list[tuple[int, int]], decompress: bool | None
) -> None:
    image = bzimage()
    for offset, value in flips:
        image[0x1E0 + offset % (len(image) - 0x1E0)] = value
    loaded_or_refused(image, decompress)


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, len(VMLINUX) - 1), st.integers(0, 255), wishes)
def test_a_broken_vmlinux_in_a_sound_bzimage_is_loaded_or_refused(
    offset: int, value: int, decompress: bool | None
) -> None:
    vmlinux = bytearray(VMLINUX)
    vmlinux[offset] = value
    entry = loaded_or_refused(bzimage(payload("gzip", bytes(vmlinux))), decompress)
    assert entry is not None or decompress


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(min_size=1, max_size=700), wishes)
def test_noise_is_refused(noise: bytes, decompress: bool | None) -> None:
    assert loaded_or_refused(noise, decompress) is None


def test_every_truncation_is_refused() -> None:
    image = bzimage()[: OFFSET + PAYLOAD + len(payload("gzip"))]  # without what may be missing
    assert loaded_or_refused(image, None)
    for size in range(1, len(image)):
        assert loaded_or_refused(image[:size], None) is None
