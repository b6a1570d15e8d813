// The ACPI tables that lead to the processors (ACPI 6.5, 5.2).
#pragma once

#include <stdint.h>

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
} __attribute__((packed));

struct acpi_header {
    char signature[4];
    uint32_t length;  // of the whole table, in bytes
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision;
    char creator[4];
    uint32_t creator_revision;
} __attribute__((packed));

struct acpi_xsdt {
    struct acpi_header header;
    uint64_t tables[];
} __attribute__((packed));

struct acpi_madt {
    struct acpi_header header;
    uint32_t local_apic, flags;
    uint8_t entries[];  // each begins with its type and its length
} __attribute__((packed));

#define ACPI_LOCAL_APIC 0
#define ACPI_ENABLED 1

struct acpi_local_apic {
    uint8_t type, length, uid, id;
    uint32_t flags;
} __attribute__((packed));

// acpi.c: NULL where there is none.
const struct acpi_madt *find_madt(uint64_t rsdp);
