// The PC that a guest finds: ports, device registers and where they stand. For C and assembly.
#pragma once

// COM1, a 16550A UART (National Semiconductor PC16550D data sheet, section 8).
#define COM1 0x3f8
#define COM1_IRQ 4
#define UART_RBR (COM1 + 0)  // read: the oldest byte received
#define UART_THR (COM1 + 0)  // write: a byte to transmit
#define UART_IER (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)
#define UART_SCR (COM1 + 7)  // scratch: eight bits without a meaning
#define IER_RECEIVED 0x01    // interrupt when a byte has come in
#define FCR_ENABLE 0x01      // both FIFOs on
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT2 0x08        // on a PC, the gate between the UART and its IRQ line
#define MCR_LOOP 0x10        // what is transmitted is received, and the line is cut off
#define LSR_DR 0x01          // a byte waits in RBR
#define LSR_THRE 0x20        // the transmit FIFO is empty: it takes FIFO_SIZE bytes
#define FIFO_SIZE 16

// One byte written here ends the run and is its status (QEMU's isa-debug-exit).
#define EXIT_PORT 0xf4

// The interrupt masks of the two 8259A PICs.
#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1

// The local APIC (Intel SDM volume 3, chapter "APIC").
#define LAPIC 0xfee00000
#define LAPIC_EOI 0x0b0
#define LAPIC_SPURIOUS 0x0f0
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_DIVIDE 0x3e0
#define LAPIC_ENABLE 0x100           // in LAPIC_SPURIOUS
#define LVT_TIMER_PERIODIC 0x20000
#define TIMER_DIVIDE_BY_1 0xb

// The I/O APIC (Intel 82093AA data sheet, section 3): a register is selected, then read or written.
#define IOAPIC 0xfec00000
#define IOAPIC_SELECT 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_REDIRECTION(line) (0x10 + 2 * (line))  // low half; the high half is the next one
