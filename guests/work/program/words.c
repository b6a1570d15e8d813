// The program's words: what is compared, and what is a number.

#include "shared.h"

bool same(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

bool is_number(const char *text) {
    const char *at = text;
    while (*at >= '0' && *at <= '9')
        at++;
    return at != text && !*at;
}

// What isn't a number, or is too large a one, is too large for all that takes numbers.
uint64_t number(const char *text) {
    uint64_t value = 0;
    if (!is_number(text))
        return MAX_NUMBER;
    while (*text && value < MAX_NUMBER)
        value = value * 10 + (uint64_t)(*text++ - '0');
    return value < MAX_NUMBER ? value : MAX_NUMBER;
}
