// The interrupt descriptor table of long mode (Intel SDM volume 3, "64-bit mode IDT").

#include "guest.h"

#define GATE_RING 0x2000  // times the ring

// A vector with an entry that isn't present is a general protection fault.
static struct gate idt[256];

// Exceptions keep the handlers that a guest starts with, as long as it has no others.
static void copy_exception_gates(void) {
    const struct gate *from = exception_gates;
    struct gate *to = idt;
    uint64_t count = sizeof *idt / 8 * EXCEPTIONS;
    asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
}

void set_interrupt_handler(uint8_t vector, void *handler, unsigned ring) {
    uintptr_t address = (uintptr_t)handler;
    if (!idt[0].attributes)
        copy_exception_gates();
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)address,
        .selector = KERNEL_CODE,
        .attributes = (uint16_t)(GATE_INTERRUPT + GATE_RING * ring),
        .offset_middle = (uint16_t)(address >> 16),
        .offset_high = (uint32_t)(address >> 32),
    };
    load_idt(idt, sizeof idt);
}
