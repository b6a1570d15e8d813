// From the loader to main(): the loader comes in at pvh_start, in 32-bit protected mode, with paging
// and interrupts off, and with EBX = the address of what it tells. main() runs in 64-bit mode, with
// the first 4 GiB of addresses mapped to themselves. You needn't change this file.

#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10

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
        or      $0x80000000, %eax       // CR0.PG
        mov     %eax, %cr0
        lgdt    gdtr
        ljmp    $CODE_SELECTOR, $1f

        .code64
1:      mov     $DATA_SELECTOR, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_end, %esp
        mov     24(%rbx), %rdi          // the address of the command line
        call    main
        out     %al, $0xf4              // the status of the run
        cli
2:      hlt
        jmp     2b

        .section .rodata
        .balign 8
gdt:    .quad   0
        .quad   0x00209b0000000000      // CODE_SELECTOR: 64-bit code
        .quad   0x0000930000000000      // DATA_SELECTOR
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

        .data
        .balign 4096
table_4:
        .quad   table_3 + 3
        .fill   511, 8, 0
table_3:
        .quad   table_2 + 0x0003, table_2 + 0x1003, table_2 + 0x2003, table_2 + 0x3003
        .fill   508, 8, 0
table_2:                                // 4 tables in a row: pages of 2 MiB
        .set    address, 0
        .rept   4 * 512
        .quad   address + 0x83
        .set    address, address + 0x200000
        .endr

        .bss
        .balign 16
        .skip   16384
stack_end:

        .section .note.GNU-stack, "", @progbits
