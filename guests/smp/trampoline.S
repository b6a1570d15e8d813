// A processor's first steps: it comes in at TRAMPOLINE in 16-bit real mode, as at a reset, and goes
// into long mode at once (Intel SDM volume 3, "Initializing IA-32e mode").

#include "long_mode.h"
#include "trampoline.h"

    .text
    .code16
trampoline:
    cli
    mov %cs, %ax
    mov %ax, %ds
    lgdtl trampoline_table - trampoline
    prepare_long_mode
    mov $(CR0_PG | CR0_PE), %eax
    mov %eax, %cr0
    ljmpl $KERNEL_CODE, $processor_start

    .balign 8
trampoline_descriptors:
    .quad 0
    .quad DESCRIPTOR_CODE           // KERNEL_CODE
    .quad DESCRIPTOR_DATA           // KERNEL_DATA
trampoline_table:
    .word trampoline_table - trampoline_descriptors - 1
    .long TRAMPOLINE + trampoline_descriptors - trampoline
trampoline_end:

    .code64
processor_start:
    mov $KERNEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov processor_stack, %rsp
    call processor_main             // never returns

    .globl install_trampoline
install_trampoline:
    mov $trampoline, %rsi
    mov $TRAMPOLINE, %rdi
    mov $(trampoline_end - trampoline), %ecx
    rep movsb
    ret

    .section .note.GNU-stack, "", @progbits
