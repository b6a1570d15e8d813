/*
 * plan.c: the words of a plan's lines.
 *
 * A line is `STEP WHAT [WORD...]`. In a word, %XX is the byte of that hexadecimal number. A step takes
 * its words one by one.
 */
#include "container.h"

char *plan_text, *blob, *line;

static int hexadecimal(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *optional(void)
{
	char *word = line, *to = line, *from = line;

	if (!line)
		return NULL;
	for (; *from && *from != ' '; from++) {
		int high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = hexadecimal(from[1]);
		low = high < 0 ? -1 : hexadecimal(from[2]);
		if (low < 0 || high + low == 0)
			fail("a wrong escape", EINVAL);
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	line = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}

char *text(void)
{
	char *word = optional();

	if (!word)
		fail("a word is missing in the plan", EINVAL);
	return word;
}

unsigned long parse(const char *digits)
{
	unsigned long value = 0;

	if (!*digits)
		fail("no number in the plan", EINVAL);
	for (; *digits; digits++) {
		if (*digits < '0' || *digits > '9' ||
		    __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *digits - '0', &value))
			fail("no number in the plan", EINVAL);
	}
	return value;
}

unsigned long number(void)
{
	return parse(text());
}

long signed_number(void)
{
	char *word = text();

	return *word == '-' ? -(long)parse(word + 1) : (long)parse(word);
}

static char *pool[WORDS_MAX]; /* the lists, one behind the other */
static unsigned long used;

static void add_word(char *word)
{
	if (used + 1 >= WORDS_MAX)
		fail("too many words", E2BIG);
	pool[used++] = word;
}

char **words_until_end(unsigned long most)
{
	char **first = pool + used;

	while (line && most--)
		add_word(text());
	end_words();
	return first;
}

void end_words(void)
{
	add_word(NULL);
}
