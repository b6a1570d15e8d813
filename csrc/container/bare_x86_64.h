/*
 * bare_x86_64.h: what a program without a C library needs: a start, system calls, some strings.
 *
 * A static C library would make the container's helper thirty times as big, and set up what it
 * never uses at each start of a container.
 *
 * Source: System V ABI, AMD64 supplement, 3.4.1 ("Initial Stack") and A.2 (system calls).
 */
#ifndef BARE_X86_64_H
#define BARE_X86_64_H

#include <stddef.h>
#include <sys/syscall.h>

void program(int count, char **words); /* what there is instead of main; doesn't return */

/* Returns what the kernel does: a result, or the negative of an error's number. */
static inline long system_call(long number, long a, long b, long c, long d, long e,
			       long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define SYS_6(number, a, b, c, d, e, f, ...) \
	system_call(SYS_##number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) SYS_6(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* The compiler calls these by itself. */
void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

size_t length(const char *text);
int same(const char *a, const char *b);
/* Where the first, or the last, such byte of the text is; NULL if it has none. */
char *find(const char *text, char c);
char *find_last(const char *text, char c);
/* Adds `text` to the one in `buffer` of `size` bytes; as much of it as there is room for. */
void append(char *buffer, size_t size, const char *text);
void append_number(char *buffer, size_t size, unsigned long value);

#endif
