// Echoes serial input by receive interrupts, halted in between; Ctrl-D ends it.

#include "guest.h"

#define SERIAL_VECTOR 0x24
#define CTRL_D 0x04

// The line goes by the I/O APIC, as an edge: that works on every host, with PICs or without, and
// where KVM is software, which ends an interrupt as it delivers it, a level would come twice.
// A new edge needs the line to have been low, and the UART holds it high while its FIFO has
// something: so the handler empties the FIFO. What comes in after that is an edge kept until EOI.
__attribute__((interrupt)) static void received(struct interrupt_frame *frame) {
    (void)frame;
    while (inb(UART_LSR) & LSR_DR) {
        char byte = (char)inb(UART_RBR);
        if (byte == CTRL_D)
            exit(0);
        serial_write(&byte, 1);
    }
    lapic_write(LAPIC_EOI, 0);
}

int main(const struct hvm_start_info *info) {
    (void)info;
    print("Type; Ctrl-D ends.\n");
    apic_init();
    set_interrupt_handler(SERIAL_VECTOR, received, 0);
    ioapic_route(COM1_IRQ, SERIAL_VECTOR);
    outb(UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    outb(UART_IER, IER_RECEIVED);
    for (;;)
        wait_for_interrupt();
}
