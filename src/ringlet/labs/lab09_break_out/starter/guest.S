# My guest, which tries to reach the host. `make run` boots it, in a machine with a device that is open.
#
# It is 16-bit code at 0x7c00, with all segments 0 and interrupts off. The machine has 512 KiB of memory.

        .intel_syntax noprefix
        .code16
        .globl start
start:
        mov     al, '?'
        out     0xe9, al                # the console

        # Step 3.1: read the byte at address 0x80000, and write it to port 0xe9.

        # Step 3.2: the device: write an index to port 0x510, read the byte with this index from port
        #           0x511. Write all bytes of the host's secret to port 0xe9.

        mov     al, 1                   # not done yet
        out     0xf4, al                # ends the run
