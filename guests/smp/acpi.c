// Finds the table of the interrupt controllers, which names the processors, too.

#include "acpi.h"

#include <stddef.h>

static int is(const struct acpi_header *table, const char *signature) {
    for (int i = 0; i < 4; i++)
        if (table->signature[i] != signature[i])
            return 0;
    return 1;
}

const struct acpi_madt *find_madt(uint64_t rsdp) {
    if (!rsdp)
        return NULL;
    const struct acpi_xsdt *xsdt = (const void *)((const struct acpi_rsdp *)rsdp)->xsdt;
    size_t count = (xsdt->header.length - sizeof(xsdt->header)) / sizeof(xsdt->tables[0]);
    for (size_t i = 0; i < count; i++)
        if (is((const void *)xsdt->tables[i], "APIC"))
            return (const void *)xsdt->tables[i];
    return NULL;
}
