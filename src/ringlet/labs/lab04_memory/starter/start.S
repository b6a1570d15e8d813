// From the loader to main(), and from a page fault to page_fault(). You needn't change this file.
//
// The loader comes in at pvh_start, in 32-bit protected mode, with paging and interrupts off, and
// with EBX = the address of what it tells. main() runs in 64-bit mode, with the first GiB of
// addresses mapped to itself, and no other address mapped.

#define IMAGE_BASE 0x100000
#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10
#define INTERRUPT_GATE 0x8e00

        // The note by which a loader knows the entry (PVH).
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 8, 18
        .asciz  "Xen"
        .quad   pvh_start

        .text
        .code32
        .globl pvh_start
pvh_start:
        mov     %cr4, %eax
        or      $0x20, %eax             // CR4.PAE
        mov     %eax, %cr4
        mov     $table_4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       // EFER
        rdmsr
        or      $0x100, %eax            // EFER.LME
        wrmsr
        mov     %cr0, %eax
        or      $0x80010000, %eax       // CR0.PG; CR0.WP: read-only pages are so for ring 0, too
        mov     %eax, %cr0
        lgdt    gdtr
        ljmp    $CODE_SELECTOR, $1f

        .code64
1:      mov     $DATA_SELECTOR, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_end, %esp
        lidt    idtr
        mov     %ebx, %edi
        call    main
        out     %al, $0xf4              // the status of the run
        cli
2:      hlt
        jmp     2b

        // The processor has pushed SS, RSP, RFLAGS, CS, RIP and an error code.
page_fault_entry:
        push    %rax
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %rbp
        mov     %rsp, %rbp
        mov     %cr2, %rdi              // the address that could not be used
        mov     10 * 8(%rbp), %rsi      // the error code
        mov     11 * 8(%rbp), %rdx      // RIP: the instruction
        and     $-16, %rsp
        cld
        call    page_fault
        mov     %rbp, %rsp
        pop     %rbp
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $8, %rsp                // the error code
        iretq                           // the instruction runs again

        .section .rodata
        .balign 8
gdt:    .quad   0
        .quad   0x00209b0000000000      // CODE_SELECTOR: 64-bit code
        .quad   0x0000930000000000      // DATA_SELECTOR
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

        // The interrupt descriptor table: vector 14 alone. Any other exception ends the run.
        .balign 16
idt:    .fill   14 * 2, 8, 0
        .word   page_fault_entry - IMAGE_BASE, CODE_SELECTOR, INTERRUPT_GATE, IMAGE_BASE >> 16
        .quad   0
idtr:   .word   idtr - idt - 1
        .quad   idt

        .data
        .balign 4096
table_4:
        .quad   table_3 + 3
        .fill   511, 8, 0
table_3:
        .quad   table_2 + 3
        .fill   511, 8, 0
table_2:                                // pages of 2 MiB
        .set    address, 0
        .rept   512
        .quad   address + 0x83
        .set    address, address + 0x200000
        .endr

        .bss
        .balign 16
        .skip   16384
stack_end:

        .section .note.GNU-stack, "", @progbits
