// What the kernel (rings.c) and its program in ring 3 (user.S) agree on.
#pragma once

// The program and, downwards from here, its stack. It has a large page of its own (the Makefile's
// rings_LDFLAGS puts it there), since page by page is how ring 3 is let in.
#define USER_SIZE 0x2000

// System calls: `int3` with the number and then the argument on the stack.
#define SYS_PRINT 1  // a string
#define SYS_EXIT 2   // a status
