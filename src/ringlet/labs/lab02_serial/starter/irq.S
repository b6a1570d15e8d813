# irq.bin: writes what it reads, by interrupts, up to a q. In between, the processor is halted.

        .intel_syntax noprefix
        .code16
        mov     word ptr [0x0c * 4], offset handler     # the handler of vector 0x0c: offset
        mov     word ptr [0x0c * 4 + 2], 0              # and segment

        mov     al, 0x11                # the interrupt controller (8259A): four words of set-up
        out     0x20, al
        mov     al, 0x08                # line 0 is vector 0x08, so line 4 is vector 0x0c
        out     0x21, al
        mov     al, 0x04
        out     0x21, al
        mov     al, 0x01
        out     0x21, al
        mov     al, 0xef                # only line 4 counts
        out     0x21, al

        mov     dx, 0x3fc               # MCR
        mov     al, 0x0b                # DTR, RTS, OUT2
        out     dx, al
        mov     dx, 0x3f9               # IER
        mov     al, 0x01                # an interrupt when a byte has come
        out     dx, al

sleep:  sti
        hlt                             # until an interrupt comes
        jmp     sleep

handler:
        mov     dx, 0x3fd               # LSR
        in      al, dx
        test    al, 0x01                # DR
        jz      done
        mov     dx, 0x3f8               # RBR
        in      al, dx
        cmp     al, 'q'
        je      end
        out     dx, al                  # THR
        jmp     handler                 # is there one more?
done:   mov     al, 0x20                # end of interrupt
        out     0x20, al
        iret

end:    mov     al, 0
        out     0xf4, al                # ends the run with status 0
