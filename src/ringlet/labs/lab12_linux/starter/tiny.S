# A kernel in the format of Linux's bzImage, to try a loader with, on any KVM. It writes what the
# loader told it to the serial port, and resets the machine. To build tiny.bzImage of this file:
#
#   gcc -m32 -c tiny.S -o tiny.o && ld -m elf_i386 -N -Ttext=0 --oformat binary tiny.o -o tiny.bzImage

        .intel_syntax noprefix
        .set    SECTORS, 3
        .set    AT, 0x100000 - (SECTORS + 1) * 512      # what is behind the setup sectors runs at 1 MiB

        .org    0x1f1
        .byte   SECTORS                 # setup_sects
        .org    0x1fe
        .word   0xaa55                  # boot_flag
        .byte   0xeb, end_of_header - 0x202
        .ascii  "HdrS"
        .word   0x20f                   # version
        .org    0x211
        .byte   1                       # loadflags: LOADED_HIGH
        .org    0x214
        .long   0x100000                # code32_start
        .org    0x22c
        .long   0x7fffffff              # initrd_addr_max
        .org    0x238
        .long   2047                    # cmdline_size
        .org    0x260
        .long   0x100000                # init_size
        .org    0x26c
end_of_header:
        .org    (SECTORS + 1) * 512

        # The 32-bit entry: ESI is the address of the zero page.
        .code32
start:
        mov     esp, 0x110000
        mov     ebp, esi
        mov     esi, offset AT + entered
        call    print
        mov     eax, ebp
        call    print_number
        cmp     dword ptr [ebp + 0x202], 0x53726448     # "HdrS"
        mov     esi, offset AT + no_header
        jne     last
        mov     esi, offset AT + command_line
        call    print
        mov     esi, [ebp + 0x228]
        call    print

        lea     edi, [ebp + 0x2d0]
        movzx   ebx, byte ptr [ebp + 0x1e8]
1:      dec     ebx
        js      2f
        mov     esi, offset AT + range
        call    print
        mov     eax, [edi]
        call    print_number
        mov     esi, offset AT + to
        call    print
        mov     eax, [edi]
        add     eax, [edi + 8]
        call    print_number
        mov     esi, offset AT + type
        call    print
        mov     eax, [edi + 16]
        call    print_number
        add     edi, 20
        jmp     1b

2:      mov     esi, offset AT + initramfs
        call    print
        mov     eax, [ebp + 0x21c]
        call    print_number
        mov     esi, offset AT + bytes_at
        call    print
        mov     eax, [ebp + 0x218]
        call    print_number
        mov     esi, offset AT + begins_with
        call    print
        mov     edi, [ebp + 0x218]
        mov     ecx, 6
3:      mov     al, [edi]
        call    print_byte
        inc     edi
        loop    3b
        mov     esi, offset AT + end
last:
        call    print
        lidt    [AT + no_idt]
        ud2                             # a triple fault

print:                                  # the text at ESI, up to a zero byte
        lodsb
        test    al, al
        jz      4f
        call    print_byte
        jmp     print
4:      ret

print_number:                           # EAX, as eight digits
        push    ecx
        mov     ecx, 8
5:      rol     eax, 4
        push    eax
        and     al, 15
        add     al, '0'
        cmp     al, '9'
        jbe     6f
        add     al, 'a' - '9' - 1
6:      call    print_byte
        pop     eax
        loop    5b
        pop     ecx
        ret

print_byte:                             # AL, once the serial port is ready
        push    edx
        mov     ah, al
        mov     dx, 0x3fd
7:      in      al, dx
        test    al, 0x20
        jz      7b
        mov     al, ah
        mov     dx, 0x3f8
        out     dx, al
        pop     edx
        ret

entered:        .asciz "tiny: I run at 1 MiB. ESI is "
no_header:      .asciz "\ntiny: there is no setup header of a zero page at ESI + 0x1f1.\n"
command_line:   .asciz "\ntiny: the command line: "
range:          .asciz "\ntiny: memory from "
to:             .asciz " to "
type:           .asciz ", type "
initramfs:      .asciz "\ntiny: the initramfs: "
bytes_at:       .asciz " bytes at "
begins_with:    .asciz ", begins with "
end:            .asciz "\ntiny: now a reset.\n"
no_idt:         .quad 0
