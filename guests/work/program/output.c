// The program's output: lines of words NAME=VALUE, and text.

#include "shared.h"

// A line goes out at once: who reads it takes the time. What is too long is cut off.
static char line[4096];
static size_t line_size;

void put_char(char character) {
    if (line_size < sizeof line - 1)
        line[line_size++] = character;
}

void put(const char *text) {
    while (*text)
        put_char(*text++);
}

void put_number(uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (at < sizeof digits)
        put_char(digits[at++]);
}

void put_value(const char *name, uint64_t value) {
    if (line_size)
        put_char(' ');
    put(name);
    put_number(value);
}

void end_line(void) {
    line[line_size++] = '\n';
    call(write, OUTPUT, line, line_size);
    line_size = 0;
}

void say(const char *text) {
    put(text);
    end_line();
}

int failed(long error) {
    put_value("error=", (uint64_t)-error);
    end_line();
    return FAILED;
}

int done(uint64_t started) {
    put_value("cycles=", cycles() - started);
    end_line();
    return 0;
}

int checked(uint64_t started, uint64_t ended, uint64_t check) {
    put_value("cycles=", ended - started);
    put_value("check=", check);
    end_line();
    return 0;
}

// A value has no spaces, and nothing that a terminal would take for a command.
void put_clean(const char *text) {
    for (; *text; text++)
        put_char(*text > ' ' && *text < 0x7f && *text != ',' ? *text : '_');
}
