// Ring 3: where it may go, and the way there. Back come exceptions alone.

#include "guest.h"
#include "stacks.h"

#define RFLAGS_RESERVED 0x2                // always one; all others off: IOPL 0, no interrupts

extern uint64_t page_map_level_4[], page_directory_pointers[], page_directories[];  // long_mode.S

// The stack of exceptions in ring 3.
static uint8_t kernel_stack[4096] __attribute__((aligned(16)));

void ring_3_allow(uintptr_t address, uint64_t size) {
    page_map_level_4[0] |= PAGE_USER;
    for (uint64_t at = address; at < address + size; at += LARGE_PAGE_SIZE) {
        page_directory_pointers[at / (512 * LARGE_PAGE_SIZE)] |= PAGE_USER;
        page_directories[at / LARGE_PAGE_SIZE] |= PAGE_USER;
    }
    asm volatile("mov %0, %%cr3" : : "r"(page_map_level_4) : "memory");  // for the TLB
}

_Noreturn void ring_3_enter(uintptr_t code, uintptr_t stack) {
    task_state.rsp[0] = (uintptr_t)(kernel_stack + sizeof kernel_stack);
    asm volatile("push %0; push %1; push %2; push %3; push %4; iretq"
                 :
                 : "i"(USER_DATA), "r"(stack), "i"(RFLAGS_RESERVED), "i"(USER_CODE), "r"(code)
                 : "memory");
    __builtin_unreachable();
}
