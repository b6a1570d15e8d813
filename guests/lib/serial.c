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

// An empty FIFO takes FIFO_SIZE bytes before it has to be asked again. One instruction writes them:
// where ring 0 is emulated, a loop would take as long as the exits do.
void serial_write(const char *data, size_t size) {
    while (size) {
        size_t part = size < FIFO_SIZE ? size : FIFO_SIZE;
        size -= part;
        while (!(inb(UART_LSR) & LSR_THRE))
            ;
        asm volatile("rep outsb" : "+S"(data), "+c"(part) : "d"(UART_THR) : "memory");
    }
}
