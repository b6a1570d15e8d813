// The same, as a program of Linux.

#define CALL_KERNEL syscall
#include "../program.S"
