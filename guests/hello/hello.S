// Prints one line and ends (PVH, 32-bit protected mode).

#include "pc.h"
#include "pvh_note.h"

    pvh_note pvh_start

    .text
    .code32
    .globl pvh_start
pvh_start:
    cld
    mov $UART_FCR, %edx
    mov $FCR_ENABLE, %al
    out %al, %dx

    mov $UART_LSR, %edx
1:  in %dx, %al
    test $LSR_THRE, %al
    jz 1b

    mov $UART_THR, %edx
    mov $message, %esi
    mov $message_end - message, %ecx
    rep outsb

    mov $0, %al
    out %al, $EXIT_PORT
2:  cli
    hlt
    jmp 2b

    .section .rodata
message:
    .ascii "Hello, ring 0!\n"
message_end:
    .if message_end - message > FIFO_SIZE
    .error "the message must fit the UART's FIFO, which is asked for room once"
    .endif

    .section .note.GNU-stack, "", @progbits
