// A program for `make run`: it uses three pages of the heap. The grader has other programs.

        .intel_syntax noprefix
        .code64
        mov     rdi, 0x40123450
        mov     rax, 0x1122334455667788
        mov     [rdi], rax              // a page fault
        mov     rdi, 0x7ffff008
        add     [rdi], rax              // a page fault: a new page is zero
        mov     rax, [rdi]
        mov     rdi, 0x40124000
        mov     [rdi], rax              // a page fault: the next page
        mov     rdi, 0x40123450
        mov     rax, [rdi]              // no page fault
        ret
