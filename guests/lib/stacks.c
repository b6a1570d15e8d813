// The stacks of a guest: main's, with a guard page below, and that of the double fault.
//
// A stack that overflows is written below its end. There is a page that isn't mapped, so the CPU
// raises a page fault; but that page fault's frame would be pushed onto the same stack. So the CPU
// raises a double fault, which has a stack of its own (Intel SDM volume 3, "Interrupt 8").

#include "stacks.h"

#include "guest.h"

#define DESCRIPTOR_TSS 0x0000890000000000  // present, 64-bit TSS, available
#define FIRST_PAGES 512                    // what first_pages maps

extern uint64_t first_pages[];  // long_mode.S

static uint8_t double_fault_stack[4096] __attribute__((aligned(16)));

struct task_state task_state = {
    .ist = {(uintptr_t)(double_fault_stack + sizeof double_fault_stack)},
    .io_map = sizeof task_state,
};

static void load_segments(void) {
    static uint64_t gdt[7] = {
        [KERNEL_CODE / 8] = DESCRIPTOR_CODE,
        [KERNEL_DATA / 8] = DESCRIPTOR_DATA,
        [USER_DATA / 8] = DESCRIPTOR_DATA + DESCRIPTOR_RING_3,
        [USER_CODE / 8] = DESCRIPTOR_CODE + DESCRIPTOR_RING_3,
    };
    uint64_t base = (uintptr_t)&task_state;
    gdt[TSS_SELECTOR / 8] = DESCRIPTOR_TSS | (sizeof task_state - 1) | (base & 0xffffff) << 16 |
                            (base >> 24 & 0xff) << 56;
    gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
    struct table_register gdtr = {sizeof gdt - 1, (uintptr_t)gdt};
    asm volatile("lgdt %0; ltr %1" : : "m"(gdtr), "r"((uint16_t)TSS_SELECTOR) : "memory");
}

void prepare_stacks(void) {
    uint64_t guard = (uintptr_t)stack_guard / PAGE_SIZE;
    load_segments();
    exception_gates[DOUBLE_FAULT].attributes = GATE_INTERRUPT + 1;  // the first of `ist`
    if (guard < FIRST_PAGES) {  // it is, unless code and data before it take a MiB
        first_pages[guard] = 0;
        asm volatile("invlpg %0" : : "m"(*stack_guard) : "memory");
    }
}
