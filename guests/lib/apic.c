// The local APIC and the I/O APIC, by MMIO.

#include "guest.h"

#define SPURIOUS_VECTOR 0xff

static void ioapic_write(uint32_t number, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)(IOAPIC + IOAPIC_SELECT) = number;
    *(volatile uint32_t *)(uintptr_t)(IOAPIC + IOAPIC_WINDOW) = value;
}

// A spurious interrupt wants no EOI.
__attribute__((interrupt)) static void spurious(struct interrupt_frame *frame) {
    (void)frame;
}

void apic_init(void) {
    // Every ISA line is wired to the PICs too, and theirs would come as the vectors of exceptions.
    outb(PIC1_MASK, 0xff);
    outb(PIC2_MASK, 0xff);
    set_interrupt_handler(SPURIOUS_VECTOR, spurious, 0);
    lapic_write(LAPIC_SPURIOUS, LAPIC_ENABLE | SPURIOUS_VECTOR);
}

void ioapic_route(unsigned line, uint8_t vector) {
    ioapic_write(IOAPIC_REDIRECTION(line) + 1, 0);   // to the APIC with the ID 0
    ioapic_write(IOAPIC_REDIRECTION(line), vector);  // fixed, edge, active high, not masked
}
