// A printf of a screenful: what it knows means what it means in C (C11, 7.21.6.1). It knows the
// letters d i u x c s p %, the flags `-` and `0`, a width in digits, and the lengths hh h l ll j z
// and t.

#include <stdarg.h>
#include <stdbool.h>

#include "guest.h"

// A conversion: what stands between `%` and its letter.
struct conversion {
    bool left, zeros;  // its flags
    size_t width;
    unsigned bytes;  // of a number
};

static void repeat(const char *sixteen, size_t count) {
    for (; count > 16; count -= 16)
        serial_write(sixteen, 16);
    serial_write(sixteen, count);
}

static size_t length(const char *text) {
    size_t size = 0;
    while (text[size])
        size++;
    return size;
}

// Writes a prefix and the text, and makes both together as wide as they have to be.
static void print_field(struct conversion to, const char *prefix, const char *text, size_t size) {
    size_t whole = length(prefix) + size;
    size_t missing = to.width > whole ? to.width - whole : 0;
    if (!to.left && !to.zeros)
        repeat("                ", missing);
    serial_write(prefix, length(prefix));
    if (!to.left && to.zeros)
        repeat("0000000000000000", missing);
    serial_write(text, size);
    if (to.left)
        repeat("                ", missing);
}

static void print_number(struct conversion to, const char *prefix, uint64_t value, unsigned base) {
    char digits[20];  // 2 to the power of 64 has as many
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    print_field(to, prefix, digits + at, sizeof digits - at);
}

static void print_signed(struct conversion to, int64_t value) {
    print_number(to, value < 0 ? "-" : "", value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

static struct conversion read_conversion(const char **format) {
    struct conversion to = {.bytes = sizeof(int)};
    for (; **format == '-' || **format == '0'; ++*format)
        *(**format == '-' ? &to.left : &to.zeros) = true;
    for (; **format >= '0' && **format <= '9'; ++*format)
        to.width = to.width * 10 + (size_t)(**format - '0');
    for (; **format == 'h'; ++*format)
        to.bytes /= 2;
    for (; **format == 'l' || **format == 'j' || **format == 'z' || **format == 't'; ++*format)
        to.bytes = sizeof(long);
    return to;
}

// Prints the conversion that begins at `format`, and returns where the format goes on. What print()
// doesn't know is written as it stands with all that follows, for nobody knows its argument's size.
static const char *print_conversion(const char *format, va_list *arguments) {
    const char *at = format + 1;
    struct conversion to = read_conversion(&at);
    unsigned unused = 64 - 8 * to.bytes;  // bits above a number
    uint64_t value;
    switch (*at) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
        value = to.bytes == 8 ? va_arg(*arguments, uint64_t) : va_arg(*arguments, unsigned);
        value <<= unused;
        if (*at == 'd' || *at == 'i')
            print_signed(to, (int64_t)value >> unused);
        else
            print_number(to, "", value >> unused, *at == 'x' ? 16 : 10);
        break;
    case 'p':
        print_number(to, "0x", (uintptr_t)va_arg(*arguments, void *), 16);
        break;
    case 's': {
        const char *text = va_arg(*arguments, const char *);
        print_field(to, "", text, length(text));
        break;
    }
    case 'c': {
        char character = (char)va_arg(*arguments, int);
        print_field(to, "", &character, 1);
        break;
    }
    case '%':
        serial_write("%", 1);
        break;
    default:
        serial_write(format, length(format));
        return format + length(format);
    }
    return at + 1;
}

void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    while (*format) {
        size_t size = 0;
        while (format[size] && format[size] != '%')
            size++;
        serial_write(format, size);
        format += size;
        if (*format)
            format = print_conversion(format, &arguments);
    }
    va_end(arguments);
}
