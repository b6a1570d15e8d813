// The machine that the guest runs on, and a few functions. You needn't change this file: the grader
// builds your guest.c with its own copy.
#pragma once

#include <stddef.h>
#include <stdint.h>

// The selector of the code segment that start.S has loaded.
#define CODE_SELECTOR 0x08

// The vectors of this lab.
#define TIMER_VECTOR 0x40
#define SPURIOUS_VECTOR 0xff

// The interrupt masks of the two old interrupt controllers (8259A PICs): a bit for each line.
#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1

// The registers of the local APIC: their offsets from LAPIC. Each has 32 bits.
#define LAPIC 0xfee00000
#define LAPIC_EOI 0x0b0            // end of interrupt: write 0
#define LAPIC_SPURIOUS 0x0f0       // bits 0 to 7: the spurious vector; LAPIC_ENABLE
#define LAPIC_TIMER 0x320          // bits 0 to 7: the vector; TIMER_ bits below
#define LAPIC_TIMER_COUNT 0x380    // the initial count; a write starts the timer, 0 stops it
#define LAPIC_TIMER_DIVIDE 0x3e0   // DIVIDE_BY_1
#define LAPIC_ENABLE 0x100
#define TIMER_MASKED 0x10000
#define TIMER_PERIODIC 0x20000     // without this bit, the timer counts once
#define DIVIDE_BY_1 0xb

// What the processor pushes at an interrupt.
struct interrupt_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

static inline void outb(uint16_t port, uint8_t value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void lapic_write(uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)(LAPIC + offset) = value;
}

// Here the grader looks at the machine.
static inline void checkpoint(uint8_t number) {
    outb(0xe9, number);
}

// Writes text to the serial port.
static inline void print(const char *text) {
    for (; *text; text++)
        outb(0x3f8, (uint8_t)*text);
}

static inline void print_number(uint64_t value) {
    char digits[21];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    print(digits + at);
}

// Returns the number that follows `name` in the command line: 5 for option("ticks=5", "ticks=").
// Returns 0 if `name` isn't there.
static inline uint64_t option(const char *line, const char *name) {
    for (; *line; line++) {
        size_t size = 0;
        while (name[size] && line[size] == name[size])
            size++;
        if (!name[size]) {
            uint64_t value = 0;
            for (line += size; *line >= '0' && *line <= '9'; line++)
                value = value * 10 + (uint64_t)(*line - '0');
            return value;
        }
    }
    return 0;
}
