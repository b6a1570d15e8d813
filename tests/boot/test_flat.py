import pytest

from ringlet.board import layout
from ringlet.boot import open_kernel
from ringlet.boot.entry import Entry
from ringlet.errors import ConfigError, ImageError
from ringlet.kvm.memory import GuestMemory

from .guest import guest_memory, written_outside


def boot(memory: GuestMemory, data: bytes, address: int) -> Entry:
    with open_kernel(data, "flat") as kernel:
        return kernel.load(memory, load_address=address)


def test_a_boot_sector_starts_as_a_pcs_firmware_starts_it() -> None:
    with guest_memory(1 << 20) as memory:
        registers, special = boot(memory, b"\xf4" * 512, 0x7C00)
        assert (special.cs.selector, special.cs.base, registers.rip) == (0, 0, 0x7C00)
        assert registers.rdx == 0x80
        assert (special.ss.base, registers.rsp) == (0, 0x7C00)
        assert registers.rflags == 2
        assert memory.read(0x7C00, 512) == b"\xf4" * 512
        assert not written_outside(memory, [(0x7C00, 512)])


def test_the_processor_is_in_real_mode() -> None:
    with guest_memory(1 << 20) as memory:
        special = boot(memory, b"\xf4", 0x7C00).special
    assert special.cr0 & 0x80000001 == 0
    assert (special.cr4, special.efer) == (0, 0)
    assert special.idt == (0, 0x3FF)
    for segment in special[:6]:
        assert (segment.limit, segment.g, segment.db, segment.l) == (0xFFFF, 0, 0, 0)
        assert segment.base == segment.selector << 4


@pytest.mark.parametrize(
    ("address", "selector", "ip"),
    [
        (0, 0, 0),
        (0xFFFF, 0, 0xFFFF),
        (0x10000, 0x1000, 0),
        (0x12345, 0x1234, 5),
        (0x9FBFF, 0x9FBF, 0xF),
    ],
)
def test_above_64_kib_the_code_segment_is_the_addresss_paragraph(
    address: int, selector: int, ip: int
) -> None:
    with guest_memory(1 << 20) as memory:
        registers, special = boot(memory, b"\xf4", address)
        assert (special.cs.selector, special.cs.base, registers.rip) == (
            selector,
            selector << 4,
            ip,
        )
        assert memory.read(address, 1) == b"\xf4"


@pytest.mark.parametrize("address", [-1, layout.LOW_RAM_END, 1 << 20, 1 << 64])
def test_a_load_address_outside_conventional_memory_is_refused(address: int) -> None:
    with guest_memory(4 << 20) as memory, pytest.raises(ConfigError, match="is outside"):
        boot(memory, b"\xf4", address)


def test_an_image_may_fill_conventional_memory_and_no_more() -> None:
    most = layout.LOW_RAM_END - 0x7C00
    with guest_memory(1 << 20) as memory:
        boot(memory, b"\xf4" * most, 0x7C00)
        assert memory.read(layout.LOW_RAM_END - 1, 2) == b"\xf4\0"
    with guest_memory(1 << 20) as memory:
        with pytest.raises(ImageError, match="is too large: from 0x7c00 on it ends at 0x9fc01"):
            boot(memory, b"\xf4" * (most + 1), 0x7C00)
        assert not written_outside(memory, [])


def test_too_little_memory_is_refused() -> None:
    with guest_memory(0x8000) as memory:
        boot(memory, bytes(0x400), 0x7C00)
        with pytest.raises(ConfigError, match="needs 1 MiB of memory, the guest has 32 KiB"):
            boot(memory, bytes(0x401), 0x7C00)
