// x86-64: register bits, descriptors and instructions (Intel SDM volume 3). For C and assembly.
#pragma once

#define CR0_PE (1 << 0)
#define CR0_PG (1 << 31)
#define CR4_PAE (1 << 5)
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)

// Page table entries.
#define PAGE_PRESENT 0x01
#define PAGE_WRITABLE 0x02
#define PAGE_USER 0x04
#define PAGE_LARGE 0x80  // in a page directory: 2 MiB
#define PAGE_SIZE 0x1000
#define LARGE_PAGE_SIZE 0x200000

// Segment descriptors of long mode, and the selectors of the two that lib/long_mode.S loads.
#define DESCRIPTOR_CODE 0x00209b0000000000    // present, ring 0, 64-bit, execute and read
#define DESCRIPTOR_DATA 0x0000930000000000    // present, ring 0, read and write
#define DESCRIPTOR_RING_3 0x0000600000000000  // to be added to either
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10

// Interrupt descriptors: present, 64-bit interrupt gate, which comes in with interrupts off.
#define GATE_INTERRUPT 0x8e00  // to be added: the number of a stack in the task state, or 0
#define EXCEPTIONS 32  // the vectors of the processor itself
#define EXCEPTION_ENTRY_SIZE 16

#ifndef __ASSEMBLER__
#include <stdint.h>

// An entry of the interrupt descriptor table (Intel SDM volume 3, "64-bit mode IDT").
struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

// What the CPU pushes at an interrupt or exception, the error code aside.
struct interrupt_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

// The operand of lgdt, lidt and sgdt.
struct table_register {
    uint16_t limit;  // size in bytes, less one
    uint64_t base;
} __attribute__((packed));

static inline void outb(uint16_t port, uint8_t value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port) {
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdmsr(uint32_t number) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

#define READ_REGISTER(name)                                \
    ({                                                     \
        uint64_t value_;                                   \
        asm volatile("mov %%" name ", %0" : "=r"(value_)); \
        value_;                                            \
    })

static inline void load_idt(const void *table, uint16_t size) {
    struct table_register idtr = {(uint16_t)(size - 1), (uintptr_t)table};
    asm volatile("lidt %0" : : "m"(idtr) : "memory");
}

// Interrupts are let in during the halt alone. `sti` takes effect after the next instruction, so
// none can slip in between the two and leave the CPU halted with its work undone.
static inline void wait_for_interrupt(void) {
    asm volatile("sti; hlt; cli" : : : "memory");
}

// Halts with interrupts off: the end, for nothing can wake this CPU.
static inline _Noreturn void halt(void) {
    for (;;)
        asm volatile("cli; hlt");
}
#endif
