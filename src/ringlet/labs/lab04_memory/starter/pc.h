// The machine that the guest runs on, and a few functions. You needn't change this file: the grader
// builds your guest.c with its own copy.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 0x1000

// Addresses that a program may use. There is nothing at first.
#define HEAP_START 0x40000000ul
#define HEAP_END 0x80000000ul

// Physical memory that you may take for pages and tables: 256 frames of PAGE_SIZE bytes.
#define FRAMES_START 0x400000ul
#define FRAMES_END 0x500000ul

// Bits of an entry of a page table.
#define PAGE_PRESENT 0x01ul
#define PAGE_WRITABLE 0x02ul
#define PAGE_ADDRESS 0x000ffffffffff000ul  // the bits that hold a physical address

// The statuses of this lab.
#define STATUS_BAD_ADDRESS 14
#define STATUS_NO_MEMORY 12

// What the loader tells (PVH).
struct module {
    uint64_t address, size, line, reserved;
};

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, line;
};

static inline void outb(uint16_t port, uint8_t value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

// Here the grader looks at the machine.
static inline void checkpoint(uint8_t number) {
    outb(0xe9, number);
}

// Ends the run.
static inline _Noreturn void finish(uint8_t status) {
    outb(0xf4, status);
    for (;;)
        asm volatile("cli; hlt");
}

// CR3: the physical address of the first table.
static inline uint64_t read_cr3(void) {
    uint64_t value;
    asm volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

// Writes zeros to a page.
static inline void clear_page(void *page) {
    uint64_t count = PAGE_SIZE / 8;
    asm volatile("rep stosq" : "+D"(page), "+c"(count) : "a"(0ul) : "memory");
}

// Runs the program that the loader has put into memory. Returns when the program has ended.
static inline void run_program(const struct start_info *info) {
    if (!info->module_count)
        finish(1);
    ((void (*)(void))(uintptr_t)((struct module *)(uintptr_t)info->modules)->address)();
}

// Writes text to the serial port.
static inline void print(const char *text) {
    for (; *text; text++)
        outb(0x3f8, (uint8_t)*text);
}

static inline void print_hex(uint64_t value) {
    for (int shift = 60; shift >= 0; shift -= 4)
        outb(0x3f8, (uint8_t) "0123456789abcdef"[value >> shift & 15]);
}

// Returns the number in the command line "map=0x..." (hexadecimal); 0 if there is none.
static inline uint64_t map_option(const struct start_info *info) {
    const char *line = (const char *)(uintptr_t)info->line;
    uint64_t value = 0;
    if (!line || line[0] != 'm' || line[1] != 'a' || line[2] != 'p' || line[3] != '=')
        return 0;
    for (line += 6; *line; line++)
        value = value << 4 | (uint64_t)(*line <= '9' ? *line - '0' : *line - 'a' + 10);
    return value;
}
