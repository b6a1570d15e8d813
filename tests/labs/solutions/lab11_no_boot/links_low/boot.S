# The first instructions of the kernel, its page tables, and the way in and out of its page-fault
# handler.
#
# The loader puts the kernel at 1 MiB and starts it at `start`, by the PVH protocol: 32-bit
# protected mode, paging off, EBX = the address of the start info. The C code is linked at
# 0xffffffff80000000 and above, as Linux is: see kernel.ld.

        .intel_syntax noprefix

        # The note that tells the loader where to start.
        .section .note.Xen, "a", @note
        .long   4, 8, 18                # sizes of name and value; 18 is XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .quad   start

        .section .boot, "awx", @progbits
        .code32
        .globl  start
start:
        mov     eax, 1 << 5             # CR4.PAE
        mov     cr4, eax
        mov     eax, offset table_4
        mov     cr3, eax
        mov     ecx, 0xc0000080         # EFER
        rdmsr
        or      eax, 1 << 8             # EFER.LME
        wrmsr
        mov     eax, cr0
        or      eax, 1 << 31            # CR0.PG
        mov     cr0, eax
        lgdt    gdt_register
        jmp     0x08:long_mode

        .code64
long_mode:
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        movabs  rsp, offset stack_top
        mov     edi, ebx                # the argument of kernel_main
        movabs  rax, offset kernel_main
        call    rax                     # never returns

        .balign 8
gdt:
        .quad   0
        .quad   0x00af9b000000ffff      # 0x08: 64-bit code
        .quad   0x00cf93000000ffff      # 0x10: data
gdt_register:
        .word   gdt_register - gdt - 1
        .long   gdt

        # The page tables. 3 is Present and Writable, 0x83 is that and Page Size: a page of 2 MiB.
        #
        #   0                    to 1 GiB    the first GiB of physical memory
        #   0xffffffff80000000   to 1 GiB    the same GiB: the kernel
        #   0xffffffffc0000000   to 2 MiB    the heap; its table is empty, and page faults fill it
        .balign 4096
table_4:
        .quad   low_table_3 + 3
        .fill   510, 8, 0
        .quad   high_table_3 + 3
low_table_3:
        .quad   kernel_table_2 + 3
        .fill   511, 8, 0
high_table_3:
        .fill   511, 8, 0
        .quad   heap_table_2 + 3
        .balign 4096
kernel_table_2:
        .set    frame, 0
        .rept   512
        .quad   frame + 0x83
        .set    frame, frame + 0x200000
        .endr
heap_table_2:
        .quad   heap_table_1 + 3
        .fill   511, 8, 0
        .globl  heap_table_1
heap_table_1:
        .fill   512, 8, 0

        # The page-fault handler. The processor has pushed SS, RSP, RFLAGS, CS, RIP and an error
        # code, which are 8 bytes each. handle_page_fault(address, error) is in kernel.c.
        .text
        .globl  page_fault
page_fault:
        push    rax
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        mov     rdi, cr2
        mov     rsi, [rsp + 9 * 8]
        cld
        call    handle_page_fault
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        add     rsp, 8
        iretq

        .bss
        .balign 16
        .skip   16384
stack_top:

        .section .note.GNU-stack, "", @progbits
