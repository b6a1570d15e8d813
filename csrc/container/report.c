/*
 * report.c: what ringlet hears of the helper: who was made, how far it is, and why it failed.
 */
#include "container.h"

int control = -1, orders = -1;
char *step, *what;

void __attribute__((noreturn)) fail(const char *operation, long error)
{
	char report[4096];
	size_t size = 1 + sizeof(int);
	const char *parts[] = { step ? step : "plan", what ? what : "", operation };
	int number = (int)error;

	report[0] = 'E';
	memcpy(report + 1, &number, sizeof(number));
	for (int i = 0; i < 3; i++) {
		size_t part = length(parts[i]);

		if (part > 1200)
			part = 1200;
		memcpy(report + size, parts[i], part);
		size += part;
		report[size++] = '\0';
	}
	sys(write, control, report, size);
	sys(exit_group, 125);
	__builtin_unreachable();
}

long must(long result, const char *operation)
{
	if (result < 0)
		fail(operation, -result);
	return result;
}

long must_on(long result, const char *operation, const char *object)
{
	char text[1200] = "";

	if (result < 0) {
		append(text, sizeof(text), operation);
		append(text, sizeof(text), " ");
		append(text, sizeof(text), object);
		fail(text, -result);
	}
	return result;
}

void tell(char kind, int value)
{
	char report[1 + sizeof(value)] = { kind };

	memcpy(report + 1, &value, sizeof(value));
	must(sys(write, control, report, sizeof(report)), "telling ringlet");
}

void must_fs(int fs, long result, const char *operation, const char *object)
{
	char words[1200] = "", message[512];
	long size;

	if (result >= 0)
		return;
	append(words, sizeof(words), operation);
	append(words, sizeof(words), object);
	while ((size = sys(read, fs, message, sizeof(message) - 1)) > 2) {
		message[size] = '\0';
		append(words, sizeof(words), "; ");
		append(words, sizeof(words), message + 2); /* after "e " */
	}
	fail(words, -result);
}
