// Echoes the input of a virtio terminal; Ctrl-D ends it.

#include "virtio_console.h"

#define CTRL_D 0x04

int main(const struct hvm_start_info *info) {
    static char data[CONSOLE_BUFFER];
    static const char greeting[] = "Type; Ctrl-D ends.\n";
    unsigned irq, columns, rows;
    uintptr_t address = virtio_find((const char *)info->cmdline_paddr, VIRTIO_CONSOLE, &irq);
    if (!address) {
        print("there is no virtio terminal (--hvc0 stdio gives one)\n");
        return 1;
    }
    const char *problem = console_open(address, irq);
    if (problem) {
        print("the terminal at %lx: %s\n", address, problem);
        return 1;
    }
    console_size(&columns, &rows);
    print("%u columns, %u rows\n", columns, rows);
    console_write(greeting, sizeof(greeting) - 1);
    for (;;) {
        uint32_t size = console_read(data);
        for (uint32_t i = 0; i < size; i++)
            if (data[i] == CTRL_D)
                return 0;
        console_write(data, size);
    }
}
