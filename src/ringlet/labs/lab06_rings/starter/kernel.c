// My kernel: runs a program in ring 3. `make run` boots it.

#include "kernel.h"

// Each exception and each interrupt comes here, with the registers of the program.
void trap(struct frame *frame) {
    // Step 1: system calls. Step 2: faults, and a system call with a pointer. Step 3: the timer.
    say("trap ");
    say_number(frame->vector);
    say(" at ");
    say_number(frame->rip);
    say("\n");
    end(99);
}

void kernel(void) {
    say("This is the kernel.\n");

    // Step 1: a stack for traps, the gate of int3, the program's pages, its first registers, resume().

    // Step 3: the registers of the second thread, and the timer.

    end(1);  // not done yet
}
