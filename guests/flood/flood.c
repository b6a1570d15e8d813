// Writes the printable ASCII characters to the serial port for ever.

#include "guest.h"

int main(const struct hvm_start_info *info) {
    (void)info;
    char line['~' - ' ' + 2];
    for (size_t i = 0; i < sizeof line - 1; i++)
        line[i] = (char)(' ' + i);
    line[sizeof line - 1] = '\n';
    for (;;)
        serial_write(line, sizeof line);
}
