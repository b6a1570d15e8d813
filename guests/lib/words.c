// The command line, word by word.

#include "guest.h"

const char *find_word(const char *line, const char *start) {
    while (line && *line) {
        size_t size = 0;
        while (start[size] && line[size] == start[size])
            size++;
        if (!start[size])
            return line + size;
        while (*line && *line != ' ')
            line++;
        while (*line == ' ')
            line++;
    }
    return NULL;
}

static unsigned digit(char character) {
    if (character >= '0' && character <= '9')
        return (unsigned)(character - '0');
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? (unsigned)(character - 'a') + 10 : 16;
}

uint64_t parse_number(const char **text) {
    unsigned base = 10;
    uint64_t value = 0;
    if ((*text)[0] == '0' && (*text)[1] == 'x') {
        base = 16;
        *text += 2;
    }
    for (; digit(**text) < base; ++*text)
        value = value * base + digit(**text);
    return value;
}
