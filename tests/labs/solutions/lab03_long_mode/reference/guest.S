# The reference guest: from real mode to long mode. `make run` boots it.
#
# The guest begins in 16-bit real mode at 0x7c00, with all segments 0 and interrupts off.

        .intel_syntax noprefix

        # checkpoint NUMBER: here the grader looks at the registers. It changes AL.
        .macro checkpoint number
        mov     al, \number
        out     0xe9, al
        .endm

        # finish STATUS: ends the run.
        .macro finish status
        mov     al, \status
        out     0xf4, al
        .endm

        .code16
        .globl start
start:
        mov     dx, 0x3f8               # the serial port
        mov     al, 'R'                 # R is for real mode
        out     dx, al
        mov     al, '\n'
        out     dx, al

        # Step 1: protected mode.
        lgdt    gdtr
        mov     eax, cr0
        or      eax, 1                  # PE
        mov     cr0, eax
        jmp     0x08:protected

        .code32
protected:
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, 0x7c00
        checkpoint 1

        # Step 2: page tables at 0x1000 to 0x3fff, which are zero: the first 2 MiB, and the same
        # memory at 0xffffffff80000000.
        mov     dword ptr [0x1000], 0x2003
        mov     dword ptr [0x1ff8], 0x2003      # entry 511
        mov     dword ptr [0x2000], 0x3003
        mov     dword ptr [0x2ff0], 0x3003      # entry 510
        mov     dword ptr [0x3000], 0x83        # 2 MiB page, writable, present
        mov     eax, cr4
        or      eax, 1 << 5             # PAE
        mov     cr4, eax
        mov     eax, 0x1000
        mov     cr3, eax
        mov     ecx, 0xc0000080         # EFER
        rdmsr
        or      eax, 1 << 8             # LME
        wrmsr
        mov     eax, cr0
        or      eax, 1 << 31            # PG
        mov     cr0, eax
        jmp     0x18:long_mode

        .code64
long_mode:
        checkpoint 2

        # Step 3: the upper half.
        movabs  rax, offset upper + 0xffffffff80000000
        jmp     rax
upper:
        checkpoint 3
        finish  0

        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      # 0x08: 32-bit code
        .quad   0x00cf93000000ffff      # 0x10: data
        .quad   0x00af9b000000ffff      # 0x18: 64-bit code
gdtr:
        .word   gdtr - gdt - 1
        .long   gdt
