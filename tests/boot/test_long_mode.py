import pytest

from ringlet.board import layout
from ringlet.boot.long_mode import prepare

from .guest import guest_memory, number, written_outside


@pytest.mark.parametrize("code", [0x8, 0x10])
def test_the_code_segment_has_the_selector_asked_for_and_data_the_next(code: int) -> None:
    with guest_memory(1 << 20) as memory:
        special = prepare(memory, code)
        assert special.cs.selector == code
        data = {s.selector for s in (special.ds, special.es, special.fs, special.gs, special.ss)}
        assert data == {code + 8}
        assert special.gdt == (layout.GDT, code + 15)
        descriptors = [number(memory, layout.GDT + at, 8) for at in range(0, code + 16, 8)]
        assert descriptors[-2:] == [0x00AF9B000000FFFF, 0x00CF93000000FFFF]
        assert not any(descriptors[:-2])


def test_only_the_gdt_and_the_page_tables_are_written() -> None:
    with guest_memory(1 << 20) as memory:
        special = prepare(memory, 0x10)
        assert special.cr3 == layout.PAGE_TABLES
        tables = (layout.PAGE_TABLES, layout.BOOT_DATA_END - layout.PAGE_TABLES)
        assert not written_outside(memory, [(layout.GDT, 0x20), tables])
