/*
 * call.c: one system call, for what no program in a test's container does: `call NUMBER [WORD...]`.
 *
 * A word is a number, or else a text; `@` is room for 64 bytes. Prints what the kernel has put there,
 * or else the result. The status is 0, or the error's number.
 */
#include "bare_x86_64.h"

static int parse(const char *word, long *value)
{
	int negative = *word == '-';

	word += negative;
	*value = 0;
	do {
		if (*word < '0' || *word > '9')
			return 0;
		*value = 10 * *value + (*word - '0');
	} while (*++word);
	*value = negative ? -*value : *value;
	return 1;
}

void program(int count, char **words)
{
	static char room[64 + 1], digits[24];
	const char *says = digits;
	long number[7] = { 0 }, result;

	for (int i = 0; i < 7 && i + 1 < count; i++) {
		if (same(words[i + 1], "@"))
			number[i] = (long)(says = room);
		else if (!parse(words[i + 1], &number[i]))
			number[i] = (long)words[i + 1];
	}
	result = system_call(number[0], number[1], number[2], number[3], number[4], number[5],
			     number[6]);
	if (result < 0)
		sys(exit_group, -result);
	append_number(digits, sizeof(digits), result);
	sys(write, 1, says, length(says));
	sys(write, 1, "\n", 1);
	sys(exit_group, 0);
	__builtin_unreachable();
}
