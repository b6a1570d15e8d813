// The 16550A at COM1: turned on, and written to by polling (PC16550D data sheet, section 8).

#include <stdbool.h>

#include "guest.h"

// Turning the FIFOs on empties them, and a VMM may have sent a first byte before the guest ran its
// first instruction. So that is read, and looped back into the FIFO, while the line is cut off.
void serial_init(void) {
    outb(UART_MCR, MCR_LOOP);
    bool early = inb(UART_LSR) & LSR_DR;
    uint8_t byte = early ? inb(UART_RBR) : 0;
    outb(UART_FCR, FCR_ENABLE);
    if (early)
        outb(UART_THR, byte);
    outb(UART_MCR, 0);
}

void serial_write(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        // An empty FIFO takes FIFO_SIZE bytes before it has to be asked again.
        if (i % FIFO_SIZE == 0)
            while (!(inb(UART_LSR) & LSR_THRE))
                ;
        outb(UART_THR, (uint8_t)data[i]);
    }
}
