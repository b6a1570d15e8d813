// Prints one line and ends (boot sector, 16-bit real mode).
//
// A PC's firmware loads the first 512 bytes of a disk to 0x7c00, if they end in 55 AA, and goes in.

#include "pc.h"

#define SECTOR_SIZE 512

    .text
    .code16
    .globl start
start:
    xor %ax, %ax                    // addresses below are absolute: segment 0
    mov %ax, %ds
    cld
    mov $message, %si

next:
    lodsb
    test %al, %al
    jz done
    mov %al, %ah
    mov $UART_LSR, %dx
1:  in %dx, %al
    test $LSR_THRE, %al
    jz 1b
    mov %ah, %al
    mov $UART_THR, %dx
    out %al, %dx
    jmp next

done:
    out %al, $EXIT_PORT             // AL is 0
2:  cli
    hlt
    jmp 2b

message:
    .asciz "Hello from real mode!\n"

    .org SECTOR_SIZE - 2
    .byte 0x55, 0xaa

    .section .note.GNU-stack, "", @progbits
