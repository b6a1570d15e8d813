// The interrupt descriptor table of long mode (Intel SDM volume 3, "64-bit mode IDT").

#include "guest.h"

#define GATE_INTERRUPT 0x8e00  // present, 64-bit interrupt gate: it comes in with interrupts off
#define GATE_RING 0x2000       // times the ring

// An entry that isn't present makes its interrupt a triple fault: the VMM tells where.
static struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
} idt[256];

void set_interrupt_handler(uint8_t vector, void *handler, unsigned ring) {
    uintptr_t address = (uintptr_t)handler;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)address,
        .selector = KERNEL_CODE,
        .attributes = (uint16_t)(GATE_INTERRUPT + GATE_RING * ring),
        .offset_middle = (uint16_t)(address >> 16),
        .offset_high = (uint32_t)(address >> 32),
    };
    load_idt(idt, sizeof idt);
}
