// A guest for outside.py, in memory from address 0 on. The first two numbers say where it starts:
// a virtual address, and CR3. The page tables come next, ready-made. The grader has other guests.

        .intel_syntax noprefix
        .quad   0x40005000, 0x1000

        .org    0x1000                  // table 4: entry 0
        .quad   0x2003
        .org    0x2000                  // table 3: entry 1, for 0x40000000
        .quad   0, 0x3003
        .org    0x3000                  // table 2: entry 0 leads to a table, entry 1 is a large page
        .quad   0x4003, 0x600083
        .org    0x4000                  // table 1: entries 5, 7 and 8
        .fill   5, 8, 0
        .quad   0x5003, 0, 0x9003, 0x7003

        .org    0x5000
        .code64
        mov     edi, 0x40007010
        mov     [rdi], al
        hlt                             // here the first `run` ends
        mov     edi, 0x40008000
        mov     [rdi], al
        mov     edi, 0x40234567
        mov     [rdi], al
1:      hlt                             // here the second `run` ends
        jmp     1b
