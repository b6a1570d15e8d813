"""Property tests of Multiboot: kernels with one or more things wrong with them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.boot import Entry
from ringlet.errors import RingletError
from ringlet.kvm.memory import GuestMemory

from ..examples import examples
from .elf_builder import Part, build, header_fields, loads, program_header_fields
from .guest import boot_data_beside, guest_memory, written_outside
from .multiboot_builder import boot, flat, header

MEMORY = 0x20000  # little, so that looking at all of it is quick
ELF = build(
    32,
    [
        Part(0x10000, header(3) + b"\xf4" * 52, virtual=0xC0010000),
        Part(0x18000, b"data" * 16, 0x2000, virtual=0xC0018000),
    ],
    entry=0xC0010010,
)
FLAT_FIELDS = {
    "header_addr": 0x10040,
    "load_addr": 0x10000,
    "load_end_addr": 0,
    "bss_end_addr": 0x12000,
    "entry_addr": 0x10060,
}
EXTREMES = sorted(
    {base + delta for base in (0, 1 << 16, 1 << 32) for delta in (-1, 0, 1) if base + delta >= 0}
    | {0x40, 0x100, 0x6000, 0xF000, 0x10040, 0x10100, 0x12000, 0x18000, 0xC0010000}
    | {MEMORY - 1, MEMORY, MEMORY + 1, 1 << 31, 3 << 30}
)
values = st.sampled_from(EXTREMES) | st.integers(0, 0xFFFFFFFF)
flips = st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=6)


def entry_or_none(image: bytes, memory: GuestMemory) -> Entry | None:
    """Load it; a refusal leaves the memory as it was."""
    try:
        return boot(image, memory)
    except RingletError:
        assert not written_outside(memory, [])
        return None


def check_elf(image: bytearray) -> bool:
    """Whether it is loaded: then memory holds what the ELF says, and no more."""
    with guest_memory(MEMORY) as memory:
        entry = entry_or_none(bytes(image), memory)
        if entry is None:
            return False
        segments = list(loads(image))
        assert any(a <= entry.registers.rip < a + len(data) for a, data in segments)
        for address, data in segments:
            assert memory.read(address, len(data)) == data
        ranges = [(address, len(data)) for address, data in segments]
        boot_data = boot_data_beside(ranges, entry.registers.rbx)
        assert not written_outside(memory, [boot_data, *ranges])
        return True


def check_flat(image: bytes, at: int, fields: dict[str, int]) -> bool:
    """Whether it is loaded: then the file lies where header_addr says, and nowhere else."""
    with guest_memory(MEMORY) as memory:
        entry = entry_or_none(image, memory)
        if entry is None:
            return False
        load_addr, displacement = fields["load_addr"], fields["header_addr"] - at
        end = fields["load_end_addr"] or displacement + len(image)
        bss_end = fields["bss_end_addr"] or end
        assert fields["load_addr"] <= fields["header_addr"]
        assert entry.registers.rip == fields["entry_addr"]
        assert load_addr <= entry.registers.rip < bss_end
        expected = image[load_addr - displacement : end - displacement]
        assert memory.read(load_addr, bss_end - load_addr) == expected.ljust(
            bss_end - load_addr, b"\0"
        )
        boot_data = boot_data_beside([(load_addr, bss_end - load_addr)], entry.registers.rbx)
        assert not written_outside(memory, [boot_data, (load_addr, end - load_addr)])
        return True


def test_the_kernels_below_load_before_they_are_broken() -> None:
    assert check_elf(bytearray(ELF))
    assert check_flat(flat(**FLAT_FIELDS), 0x40, FLAT_FIELDS)


@settings(max_examples=examples(1000), deadline=None)
@given(flips)
def test_an_elf_of_flipped_bytes_is_loaded_or_refused(flips: list[tuple[int, int]]) -> None:
    image = bytearray(ELF)
    for offset, value in flips:
        image[offset % len(image)] = value
    check_elf(image)


ELF_FIELDS = [
    *header_fields(32).values(),
    *(field for i in range(2) for field in program_header_fields(32, i).values()),
]


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ELF_FIELDS), values), min_size=1, max_size=4))
def test_an_elf_of_extreme_fields_is_loaded_or_refused(changes) -> None:  # type: ignore[no-untyped-def]
    image = bytearray(ELF)
    for field, value in changes:
        field.put(image, value)
    check_elf(image)


@settings(max_examples=examples(1500), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(FLAT_FIELDS)), values.map(lambda value: value & 0xFFFFFFFF)
    )
)
def test_extreme_address_fields_are_loaded_or_refused(changes: dict[str, int]) -> None:
    fields = FLAT_FIELDS | changes
    check_flat(flat(**fields), 0x40, fields)


@settings(max_examples=examples(1000), deadline=None)
@given(
    at=st.integers(0, 60).map(lambda words: 4 * words),
    load=st.integers(0xEF00, 0x20100) | st.integers(8, 0x1000),
    before=st.integers(-8, 300),
    size=st.integers(0, 600),
    bss=st.integers(0, 600),
    entry=st.integers(0, 600),
)
def test_address_fields_that_nearly_fit_are_loaded_or_refused(
    at: int, load: int, before: int, size: int, bss: int, entry: int
) -> None:
    fields = {
        "header_addr": load + before,
        "load_addr": load,
        "load_end_addr": load + size if size else 0,
        "bss_end_addr": load + bss if bss else 0,
        "entry_addr": load + entry,
    }
    check_flat(flat(at=at, size=400, **fields), at, fields)


@settings(max_examples=examples(500), deadline=None)
@given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=200))
def test_a_header_followed_by_noise_is_loaded_or_refused(flags: int, noise: bytes) -> None:
    with guest_memory(MEMORY) as memory:
        entry_or_none(header(flags) + noise, memory)


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(min_size=1, max_size=600))
def test_noise_is_refused(noise: bytes) -> None:
    with guest_memory(MEMORY) as memory:
        assert entry_or_none(noise, memory) is None


def test_every_truncation_is_refused() -> None:
    for size in range(1, len(ELF)):
        assert not check_elf(ELF[:size])
    whole = flat(load_end_addr=0x100100)
    for size in range(1, len(whole)):
        with guest_memory(0x110000) as memory:
            assert entry_or_none(whole[:size], memory) is None
