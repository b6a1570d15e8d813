// The four functions that gcc calls of its own accord, even where there is no C library (GCC
// manual, "Language Standards Supported by GCC"). String instructions of 8 bytes are the fastest
// where ring 0 is emulated.

#include "guest.h"

void *memcpy(void *to, const void *from, size_t size) {
    void *start = to;
    size_t words = size / 8;
    size_t bytes = size % 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return start;
}

void *memmove(void *to, const void *from, size_t size) {
    if ((uintptr_t)to - (uintptr_t)from >= size)
        return memcpy(to, from, size);
    // `to` lies behind `from` and in its bytes: the last byte goes first.
    char *last = (char *)to + size - 1;
    const char *last_from = (const char *)from + size - 1;
    asm volatile("std; rep movsb; cld" : "+D"(last), "+S"(last_from), "+c"(size) : : "memory");
    return to;
}

void *memset(void *to, int byte, size_t size) {
    void *start = to;
    uint64_t eight = (uint8_t)byte * 0x0101010101010101;
    size_t words = size / 8;
    size_t bytes = size % 8;
    asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(eight) : "memory");
    asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(eight) : "memory");
    return start;
}

int memcmp(const void *one, const void *other, size_t size) {
    const uint8_t *a = one, *b = other;
    for (; size; size--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}
