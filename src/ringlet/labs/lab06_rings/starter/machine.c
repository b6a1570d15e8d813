// The machine below the kernel: console, GDT, TSS, IDT and timer. Given.

#include "kernel.h"

static void outb(uint16_t port, uint8_t value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

// The console: the serial port is for you. At port 0xe9 the grader listens.
void put(uint8_t byte) {
    outb(0x3f8, byte);
    outb(0xe9, byte);
}

void say(const char *text) {
    while (*text)
        outb(0x3f8, (uint8_t)*text++);
}

void say_number(uint64_t number) {
    for (int shift = 60; shift >= 0; shift -= 4)
        outb(0x3f8, (uint8_t)"0123456789abcdef"[number >> shift & 15]);
}

void end(uint8_t status) {
    outb(0xf4, status);
    for (;;)
        asm volatile("cli; hlt");
}

// gcc calls these two for large structures.
void *memcpy(void *to, const void *from, unsigned long size);
void *memcpy(void *to, const void *from, unsigned long size) {
    void *result = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return result;
}

void *memset(void *to, int byte, unsigned long size);
void *memset(void *to, int byte, unsigned long size) {
    void *result = to;
    asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
    return result;
}

// What lgdt and lidt take.
struct table {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

// The TSS says where the stack of ring 0 is (Intel SDM volume 3, "64-bit mode TSS").
static struct {
    uint32_t reserved;
    uint64_t rsp0;
    uint64_t others[10];
    uint16_t reserved2;
    uint16_t io_map;  // behind the end: ring 3 may use no port
} __attribute__((packed)) tss = {.io_map = 104};

static uint64_t gdt[7] = {
    [KERNEL_CODE / 8] = 0x00209b0000000000,
    [KERNEL_DATA / 8] = 0x0000930000000000,
    [USER_DATA / 8] = 0x0000f30000000000,
    [USER_CODE / 8] = 0x0020fb0000000000,
};

#define TSS_SELECTOR 0x28

// The IDT: a gate for each vector (Intel SDM volume 3, "64-bit mode IDT").
static struct {
    uint16_t offset_low, selector, attributes, offset_middle;
    uint32_t offset_high, reserved;
} idt[33];

extern const char entries[];  // entry.S: 16 bytes each

void prepare_machine(void);
void prepare_machine(void) {
    uint64_t base = (uint64_t)&tss;
    gdt[TSS_SELECTOR / 8] = 0x0000890000000000 | (sizeof tss - 1) | (base & 0xffffff) << 16;
    for (unsigned vector = 0; vector < 33; vector++) {
        uint64_t entry = (uint64_t)entries + 16 * vector;
        idt[vector].offset_low = (uint16_t)entry;
        idt[vector].offset_middle = (uint16_t)(entry >> 16);
        idt[vector].selector = KERNEL_CODE;
        idt[vector].attributes = 0x8e00;  // present, interrupt gate: interrupts are off in trap()
    }
    struct table gdtr = {sizeof gdt - 1, (uint64_t)gdt}, idtr = {sizeof idt - 1, (uint64_t)idt};
    asm volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr) : "memory");
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(KERNEL_DATA));
    asm volatile("push %0; push $1f; lretq; 1:" : : "i"(KERNEL_CODE) : "memory");
    asm volatile("ltr %0" : : "r"((uint16_t)TSS_SELECTOR));
}

void set_kernel_stack(void *top) {
    tss.rsp0 = (uint64_t)top;
}

void allow_from_ring_3(uint8_t vector) {
    idt[vector].attributes |= 3 << 13;
}

void flush_pages(void) {
    asm volatile("mov %0, %%cr3" : : "r"(table_4) : "memory");
}

// The local APIC (Intel SDM volume 3, "APIC").
static void apic(uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(0xfee00000ul + offset) = value;
}

void start_timer(void) {
    outb(0x21, 0xff);  // the two old interrupt controllers stay quiet
    outb(0xa1, 0xff);
    apic(0x0f0, 0x1ff);                   // the APIC is on
    apic(0x3e0, 0xb);                     // the timer counts each bus cycle
    apic(0x320, 0x20000 | VECTOR_TIMER);  // again and again
    apic(0x380, 50000000);                // 50 ms in KVM, and go
}

void end_of_interrupt(void) {
    apic(0x0b0, 0);
}
