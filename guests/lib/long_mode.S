// From a loader's 32-bit entry to C: a kernel's first steps from protected mode into long mode.
//
// It comes in with paging off, flat segments, interrupts off and EBX = what the loader tells. It
// leaves for start() as our 64-bit protocol would: RDI = what the loader tells, RSP = 8 modulo
// 16, the first 4 GiB identity-mapped; but not the first page, so that a null pointer is a page
// fault, and not the page below the stack. The steps are those of the Intel SDM, volume 3, "Initializing IA-32e mode".

#include "long_mode.h"

    .text
    .code32
    .globl enter_long_mode
enter_long_mode:
    cld
    prepare_long_mode
    mov %cr0, %eax
    or $CR0_PG, %eax
    mov %eax, %cr0                  // long mode, but the code segment is still a 32-bit one
    lgdt gdt_register
    ljmp $KERNEL_CODE, $1f

    .code64
1:  mov $KERNEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_top, %esp
    call prepare_stacks
    mov %ebx, %edi
    call start                      // never returns

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad DESCRIPTOR_CODE           // KERNEL_CODE
    .quad DESCRIPTOR_DATA           // KERNEL_DATA
gdt_register:
    .word gdt_register - gdt - 1
    .long gdt

// The assembler fills the tables: the guest would take milliseconds where ring 0 is emulated.
#define TABLE (PAGE_PRESENT | PAGE_WRITABLE)
#define STACK_SIZE (16 * 1024)

    .data
    .balign PAGE_SIZE
    .globl page_map_level_4, page_directory_pointers, page_directories, first_pages
page_map_level_4:
    .quad page_directory_pointers + TABLE
    .fill 511, 8, 0
page_directory_pointers:
    .quad page_directories + 0 * PAGE_SIZE + TABLE
    .quad page_directories + 1 * PAGE_SIZE + TABLE
    .quad page_directories + 2 * PAGE_SIZE + TABLE
    .quad page_directories + 3 * PAGE_SIZE + TABLE
    .fill 508, 8, 0
page_directories:                   // four in a row, 1 GiB each
    .quad first_pages + TABLE
    .set address, LARGE_PAGE_SIZE
    .rept 4 * 512 - 1
    .quad address + (PAGE_LARGE | PAGE_WRITABLE | PAGE_PRESENT)
    .set address, address + LARGE_PAGE_SIZE
    .endr

first_pages:                        // the first 2 MiB; the entry above decides on ring 3
    .quad 0
    .set address, PAGE_SIZE
    .rept 511
    .quad address + (TABLE | PAGE_USER)
    .set address, address + PAGE_SIZE
    .endr

    .bss
    .balign PAGE_SIZE
    .globl stack_guard, stack_bottom, stack_top
stack_guard:
    .skip PAGE_SIZE
stack_bottom:
    .skip STACK_SIZE
stack_top:

    .section .note.GNU-stack, "", @progbits
