import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.board.layout import HIGH_MEMORY, MMIO_HOLE, MMIO_HOLE_END
from ringlet.boot import open_kernel
from ringlet.errors import ImageError, RingletError
from ringlet.kvm.memory import PAGE, GuestMemoryError
from ringlet.observe.inspection.dry_load import DryMemory, least_memory, load

from ...boot.bzimage_builder import VMLINUX, bzimage
from ...boot.elf_builder import Part, build, pvh_note
from ...boot.guest import guest_memory
from ...boot.multiboot_builder import flat, header
from ...examples import examples

CODE = Part(0x100000, b"\xf4" * 64, 0x5001)
MULTIBOOT = Part(0x100000, header() + b"\xf4" * 52)
IMAGES = {
    "pvh": build(64, [CODE, pvh_note(0x100000)]),
    "low pvh": build(32, [Part(0x8000, b"\xf4" * 64), pvh_note(0x8000)]),
    "elf64": build(64, [CODE]),
    "multiboot": build(32, [MULTIBOOT]),
    "multiboot by address fields": flat(),
    "vmlinux": VMLINUX,
    "bzimage": bzimage(),
    "flat": bytes(510) + b"\x55\xaa",
    "above 4 GiB": build(64, [CODE, Part(MMIO_HOLE_END + 0x3000, b"more")]),
}


def check(image: bytes) -> None:
    """The least memory is enough for a true load, and a page less isn't."""
    with open_kernel(image) as kernel:
        least = least_memory(kernel)
        assert least % PAGE == 0
        with guest_memory(least) as memory:
            entry = kernel.load(memory, decompress=False)
        assert entry == load(kernel, least)
        with pytest.raises(RingletError), guest_memory(least - PAGE) as memory:
            kernel.load(memory, decompress=False)


@pytest.mark.parametrize("name", IMAGES)
def test_the_least_memory_is_enough_and_a_page_less_is_not(name: str) -> None:
    check(bytes(IMAGES[name]))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.sampled_from([32, 64]),
    st.integers(0, 0x400000),
    st.integers(1, 0x100000),
)
def test_it_is_so_wherever_a_kernel_lies(bits: int, address: int, size: int) -> None:
    code = Part(address, b"\xf4", size)
    try:
        check(bytes(build(bits, [code, pvh_note(address)])))
    except ImageError as error:  # a program header with no place is refused everywhere
        pytest.fail(str(error))


def test_nothing_of_an_image_is_read_and_each_range_is_checked() -> None:
    with DryMemory.of(2 * HIGH_MEMORY) as memory:
        memory.load(-1, 0, HIGH_MEMORY, HIGH_MEMORY)
        with pytest.raises(GuestMemoryError):
            memory.load(-1, 0, HIGH_MEMORY, HIGH_MEMORY + 1)


def test_a_kernel_that_fits_into_no_memory_is_refused_as_the_loader_does() -> None:
    outside = "is outside the guest's memory"
    for part in (Part(MMIO_HOLE, b"\xf4" * 64), Part((1 << 64) - 1, b"\xf4")):
        image = bytes(build(64, [CODE, part]))
        with open_kernel(image) as kernel, pytest.raises(ImageError, match=outside):
            least_memory(kernel)
