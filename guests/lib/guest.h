// What a guest written in C has at hand. It defines main(); the rest is linked in when it is used.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pc.h"
#include "start_info.h"
#include "x86.h"

// The guest itself. What it returns is the status of the run.
int main(const struct hvm_start_info *info);

// start.c: ends the run with this status.
_Noreturn void exit(uint8_t status);

// serial.c: COM1. start() turns its FIFOs on; a write takes as long as the UART does.
void serial_init(void);
void serial_write(const char *data, size_t size);

// print.c: printf with the letters d i u x c s p %, the flags `-` and `0`, a width and the lengths
// hh h l ll j z t. A conversion that print() doesn't know is shown as it stands.
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

// memory.c: as in C.
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *one, const void *other, size_t size);

// words.c: what follows `start` in the line's first word that begins so, or NULL.
const char *find_word(const char *line, const char *start);
// Reads a number, decimal or after 0x hexadecimal, and goes on behind it.
uint64_t parse_number(const char **text);

// exception_gates.S: the table that a guest starts with. An exception is told by exception.c, and ends the
// run with this status.
extern struct gate exception_gates[EXCEPTIONS];
#define DOUBLE_FAULT 8  // has a stack of its own (stacks.c)
#define EXCEPTION_STATUS 71

// idt.c: `handler` is a function with __attribute__((interrupt)). `ring` is the least privileged
// one that may come in by an `int` instruction. From the first call on, a table of the
// guest's own is in use.
void set_interrupt_handler(uint8_t vector, void *handler, unsigned ring);

// ring3.c: lets ring 3 have these bytes; it gets whole pages of LARGE_PAGE_SIZE.
void ring_3_allow(uintptr_t address, uint64_t size);
// Goes on in ring 3, with interrupts off and no access to ports.
_Noreturn void ring_3_enter(uintptr_t code, uintptr_t stack);

// apic.c: makes interrupts come from the local and the I/O APIC, and from them alone.
void apic_init(void);
// A rising edge of this line is the interrupt `vector` of CPU 0.
void ioapic_route(unsigned line, uint8_t vector);
// Here for interrupt handlers: one that calls nothing has few registers to save.
static inline void lapic_write(uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)(LAPIC + offset) = value;
}
