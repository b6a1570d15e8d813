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

/* The stack begins with the count of words, then pointers to them. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov (%rsp), %edi\n"
	"	lea 8(%rsp), %rsi\n"
	"	and $-16, %rsp\n"
	"	call program\n"
	"	hlt\n");

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
void *memset(void *to, int byte, size_t size)
{
	for (char *at = to; size--; at++)
		*at = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const unsigned char *x = a, *y = b;

	for (; size--; x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

static inline size_t length(const char *text)
{
	size_t i = 0;

	while (text[i])
		i++;
	return i;
}

static inline int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static inline char *find(const char *text, char c)
{
	for (; *text; text++)
		if (*text == c)
			return (char *)text;
	return NULL;
}

static inline char *find_last(const char *text, char c)
{
	char *found = NULL;

	for (; *text; text++)
		if (*text == c)
			found = (char *)text;
	return found;
}

/* Adds `text` to the one in `buffer` of `size` bytes; as much of it as there is room for. */
static inline void append(char *buffer, size_t size, const char *text)
{
	size_t used = length(buffer);

	while (*text && used + 1 < size)
		buffer[used++] = *text++;
	buffer[used] = '\0';
}

static inline void append_number(char *buffer, size_t size, unsigned long value)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	append(buffer, size, at);
}

#endif
