// Ring 3: where it may go, and the way there. Back come exceptions alone.

#include "guest.h"

#define USER_DATA (0x18 | 3)
#define USER_CODE (0x20 | 3)
#define TSS_SELECTOR 0x28
#define DESCRIPTOR_TSS 0x0000890000000000  // present, 64-bit TSS, available
#define RFLAGS_RESERVED 0x2                // always one; all others off: IOPL 0, no interrupts

extern uint64_t page_map_level_4[], page_directory_pointers[], page_directories[];  // long_mode.S

// What an exception in ring 3 needs: the stack of ring 0 (Intel SDM volume 3, "64-bit mode TSS").
static struct {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t ist[8];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;  // past the end: no port is free to ring 3
} __attribute__((packed)) tss = {.io_map = sizeof tss};
_Static_assert(sizeof tss == 104, "the layout is the CPU's");

static uint8_t kernel_stack[4096] __attribute__((aligned(16)));

static void load_segments(void) {
    static uint64_t gdt[7] = {
        [KERNEL_CODE / 8] = DESCRIPTOR_CODE,
        [KERNEL_DATA / 8] = DESCRIPTOR_DATA,
        [USER_DATA / 8] = DESCRIPTOR_DATA + DESCRIPTOR_RING_3,
        [USER_CODE / 8] = DESCRIPTOR_CODE + DESCRIPTOR_RING_3,
    };
    uint64_t base = (uintptr_t)&tss;
    tss.rsp[0] = (uintptr_t)(kernel_stack + sizeof kernel_stack);
    gdt[TSS_SELECTOR / 8] = DESCRIPTOR_TSS | (sizeof tss - 1) | (base & 0xffffff) << 16 |
                            (base >> 24 & 0xff) << 56;
    gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
    struct table_register gdtr = {sizeof gdt - 1, (uintptr_t)gdt};
    asm volatile("lgdt %0; ltr %1" : : "m"(gdtr), "r"((uint16_t)TSS_SELECTOR) : "memory");
}

void ring_3_allow(uintptr_t address, uint64_t size) {
    page_map_level_4[0] |= PAGE_USER;
    for (uint64_t at = address; at < address + size; at += LARGE_PAGE_SIZE) {
        page_directory_pointers[at / (512 * LARGE_PAGE_SIZE)] |= PAGE_USER;
        page_directories[at / LARGE_PAGE_SIZE] |= PAGE_USER;
    }
    asm volatile("mov %0, %%cr3" : : "r"(page_map_level_4) : "memory");  // for the TLB
}

_Noreturn void ring_3_enter(uintptr_t code, uintptr_t stack) {
    load_segments();
    asm volatile("push %0; push %1; push %2; push %3; push %4; iretq"
                 :
                 : "i"(USER_DATA), "r"(stack), "i"(RFLAGS_RESERVED), "i"(USER_CODE), "r"(code)
                 : "memory");
    __builtin_unreachable();
}
