// A printf of a screenful.

#include <stdarg.h>

#include "guest.h"

static void print_string(const char *text) {
    size_t size = 0;
    while (text[size])
        size++;
    serial_write(text, size);
}

static void print_number(uint64_t value, unsigned base, unsigned width) {
    char digits[32];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (at && (value || sizeof digits - at < width));
    serial_write(digits + at, sizeof digits - at);
}

void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    for (;;) {
        size_t size = 0;
        while (format[size] && format[size] != '%')
            size++;
        serial_write(format, size);
        format += size;
        if (!*format++)
            break;

        unsigned width = 0;
        while (*format >= '0' && *format <= '9')
            width = width * 10 + (unsigned)(*format++ - '0');
        if (*format == 'l')
            format++;
        switch (*format++) {
        case 's':
            print_string(va_arg(arguments, const char *));
            break;
        case 'c': {
            char character = (char)va_arg(arguments, int);
            serial_write(&character, 1);
            break;
        }
        case 'u':
            print_number(va_arg(arguments, uint64_t), 10, width);
            break;
        case 'x':
            print_number(va_arg(arguments, uint64_t), 16, width);
            break;
        }
    }
    va_end(arguments);
}
