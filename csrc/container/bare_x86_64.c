/*
 * bare_x86_64.c: the start of a program without a C library, and its strings.
 */
#include "bare_x86_64.h"

/* The stack begins with the count of words, then pointers to them. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov (%rsp), %edi\n"
	"	lea 8(%rsp), %rsi\n"
	"	and $-16, %rsp\n"
	"	call program\n"
	"	hlt\n");

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

size_t length(const char *text)
{
	size_t i = 0;

	while (text[i])
		i++;
	return i;
}

int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

char *find(const char *text, char c)
{
	for (; *text; text++)
		if (*text == c)
			return (char *)text;
	return NULL;
}

char *find_last(const char *text, char c)
{
	char *found = NULL;

	for (; *text; text++)
		if (*text == c)
			found = (char *)text;
	return found;
}

void append(char *buffer, size_t size, const char *text)
{
	size_t used = length(buffer);

	while (*text && used + 1 < size)
		buffer[used++] = *text++;
	buffer[used] = '\0';
}

void append_number(char *buffer, size_t size, unsigned long value)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	append(buffer, size, at);
}
