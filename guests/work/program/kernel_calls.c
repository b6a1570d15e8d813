// What goes through the kernel, or ends it: system calls, VM exits, a crash.

#include <linux/fcntl.h>

#include "shared.h"

#define SCRATCH_REGISTER 0x3ff  // of COM1: eight bits without a meaning

static int system_calls(char **words) {
    uint64_t started = cycles();
    for (uint64_t left = number(words[0]); left; left--)
        call(getppid);
    return done(started);
}

// Whether the kernel is the guest's own, which knows how to read a port no times.
static bool own_kernel(void) {
    return call_number(CALL_READ_PORT, SCRATCH_REGISTER, 0) == 0;
}

// Each read of the port is a VM exit. On bare hardware it would be the hardware that is read: so
// Linux has to be told that it is in a VM.
static int port_exits(char **words) {
    uint64_t count = number(words[0]), started;
    if (own_kernel()) {
        started = cycles();
        call_number(CALL_READ_PORT, SCRATCH_REGISTER, count);
        return done(started);
    }
    if (!words[1] || !same(words[1], "vm")) {
        say("refused");
        return REFUSED;
    }
    long error = call(ioperm, SCRATCH_REGISTER, 1, 1);
    if (error)
        return failed(error);
    started = cycles();
    for (; count; count--)
        asm volatile("inb %w0, %%al" : : "d"(SCRATCH_REGISTER) : "rax");
    return done(started);
}

// Whether a word is among those of the kernel's command line.
static bool kernel_was_told(const char *word) {
    static char contents[4096];
    long size = read_file("/proc/cmdline", contents, sizeof contents - 1);
    char *from = contents;
    for (long i = 0; i < size; i++) {
        if (contents[i] != ' ' && contents[i] != '\n')
            continue;
        contents[i] = 0;
        if (same(from, word))
            return true;
        from = contents + i + 1;
    }
    return false;
}

// Crashes its kernel: its own one at once, Linux only in a VM that was started for it.
static int crash(char **words) {
    (void)words;
    if (own_kernel()) {
        say("crashing");
        call_number(CALL_CRASH);
    }
    if (!kernel_was_told("ringlet_compare_crash")) {
        say("refused");
        return REFUSED;
    }
    say("crashing");
    long file = call(open, "/proc/sysrq-trigger", O_WRONLY);
    return failed(file < 0 ? file : call(write, file, "c", 1));
}

// Waits for a byte, then makes 110 system calls: for those who count them, or what comes of them.
static int calls(char **words) {
    char byte;
    (void)words;
    call(read, INPUT, &byte, 1);
    for (int i = 0; i < 100; i++)
        call(getppid);
    for (int i = 0; i < 10; i++)
        say("x=1");
    return 0;
}

const struct action kernel_actions[] = {
    {"syscall", 1, system_calls, NULL},
    {"exit", 1, port_exits, "vm"},
    {"crash", 0, crash, NULL},
    {"calls", 0, calls, NULL},
    {0},
};
