// The reference guest: it gives pages to a program when the program uses them.

#include "pc.h"

static uint64_t next_frame = FRAMES_START;

// Returns the physical address of a frame, which is zero.
static uint64_t take_frame(void) {
    if (next_frame == FRAMES_END)
        finish(STATUS_NO_MEMORY);
    uint64_t frame = next_frame;
    next_frame += PAGE_SIZE;
    clear_page((void *)frame);
    return frame;
}

// Maps the page of `address` to a new frame, and makes the tables on the way.
static void map(uint64_t address) {
    uint64_t *table = (uint64_t *)(read_cr3() & PAGE_ADDRESS);
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[address >> shift & 511];
        if (!(*entry & PAGE_PRESENT))
            *entry = take_frame() | PAGE_WRITABLE | PAGE_PRESENT;
        table = (uint64_t *)(*entry & PAGE_ADDRESS);
    }
    table[address >> 12 & 511] = take_frame() | PAGE_WRITABLE | PAGE_PRESENT;
}

void page_fault(uint64_t address, uint64_t error, uint64_t rip);
void page_fault(uint64_t address, uint64_t error, uint64_t rip) {
    (void)error;
    (void)rip;
    if (address < HEAP_START || address >= HEAP_END)
        finish(STATUS_BAD_ADDRESS);
    map(address);
    checkpoint(2);
}

int main(const struct start_info *info) {
    map(map_option(info));
    checkpoint(1);
    run_program(info);
    return 0;
}
