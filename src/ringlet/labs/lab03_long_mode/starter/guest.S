# My guest: from real mode to long mode. `make run` boots it.
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

        # Step 1: load a GDT, set CR0.PE, jump to 32-bit code, load the data segments.
        #         Then: checkpoint 1

        # Step 2: page tables, CR4.PAE, CR3, EFER.LME, CR0.PG, and a jump to 64-bit code.
        #         Then: checkpoint 2

        # Step 3: jump to the same code at 0xffffffff80000000 and above.
        #         Then: checkpoint 3, and finish 0

        finish  1                       # not done yet
