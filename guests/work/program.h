// What the program of this guest (work.c and program/) and whatever runs it agree on. That may be the guest's
// own kernel (kernel.c) or Linux: system calls are Linux's, by its numbers.
#pragma once

#include <stdint.h>

// For the kernel of the guest alone: Linux has no calls of these numbers.
#define CALL_READ_PORT 0x10000  // reads one byte of a port as often as is asked for, in ring 0
#define CALL_CRASH 0x10001      // doesn't come back

// program.S: a result, or the negative of an error's number (System V ABI, AMD64 supplement, A.2.1).
long system_call(long number, long a, long b, long c, long d, long e, long f);

// work.c: the program, and its status. `words` end with NULL.
int work(int count, char **words);
