/* init.c: the init of a Linux guest that is measured: one line to the console, then the end.
 *
 *     gcc -O2 -static -nostdlib -ffreestanding -fno-stack-protector -o init init.c
 *
 * It needs no libc, so it starts with one page fault or two. The kernel has opened /dev/console
 * as descriptors 0 to 2. The end is a write of 0 to port 0xf4, which is ringlet's exit port and
 * QEMU's isa-debug-exit.
 *
 * Source: Linux, arch/x86/entry/entry_64.S (system calls); iopl(2). */
#include <asm/unistd.h>

#define EXIT_PORT 0xf4

static long call(long number, long first, const void *second, long third)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
}

void _start(void)
{
	static const char line[] = "init is here\n";

	call(__NR_write, 1, line, sizeof(line) - 1);
	call(__NR_iopl, 3, 0, 0);
	__asm__ volatile("outb %b0, %w1" : : "a"(0), "Nd"(EXIT_PORT));
	call(__NR_exit, 1, 0, 0); /* an init that ends is a panic: it can't go unnoticed */
}
