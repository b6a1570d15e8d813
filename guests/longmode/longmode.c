// Prints the state that a 64-bit ELF starts in, and its memory map.

#include "guest.h"

#define MODULE_TEXT 32  // bytes of a module that are shown

static void print_bits(const char *name, uint64_t value, const char *const bits[]) {
    print("%s %016lx", name, value);
    for (unsigned i = 0; i < 32; i++)
        if (value >> i & 1 && bits[i])
            print(" %s", bits[i]);
    print("\n");
}

static void print_registers(void) {
    static const char *const cr0[32] = {
        [0] = "PE", "MP", "EM", "TS", "ET", "NE", [16] = "WP", [18] = "AM", [29] = "NW", "CD", "PG",
    };
    static const char *const cr4[32] = {
        "VME", "PVI", "TSD", "DE", "PSE", "PAE", "MCE", "PGE", "PCE", "OSFXSR", "OSXMMEXCPT"};
    static const char *const efer[32] = {[0] = "SCE", [8] = "LME", [10] = "LMA", "NXE"};

    print_bits("CR0 ", READ_REGISTER("cr0"), cr0);
    print("CR3  %016lx\n", READ_REGISTER("cr3"));
    print_bits("CR4 ", READ_REGISTER("cr4"), cr4);
    print_bits("EFER", rdmsr(MSR_EFER), efer);
}

static void print_segments(void) {
    struct table_register gdtr;
    asm volatile("sgdt %0" : "=m"(gdtr));

    print("CS %04lx, SS %04lx, DS %04lx\n", READ_REGISTER("cs"), READ_REGISTER("ss"),
          READ_REGISTER("ds"));
    const uint64_t *gdt = (const uint64_t *)gdtr.base;
    size_t entries = (gdtr.limit + 1u) / sizeof *gdt;
    print("GDT  at %lx, limit %lx\n", gdtr.base, (uint64_t)gdtr.limit);
    for (size_t i = 0; i < entries; i++)
        print("  %04lx %016lx\n", i * sizeof *gdt, gdt[i]);
}

static void print_modules(const struct hvm_start_info *info) {
    const struct hvm_modlist_entry *modules =
        (const struct hvm_modlist_entry *)info->modlist_paddr;
    print("modules: %lu\n", (uint64_t)info->nr_modules);
    for (uint32_t i = 0; i < info->nr_modules; i++) {
        print("  %016lx, %lu bytes: ", modules[i].paddr, modules[i].size);
        const char *text = (const char *)modules[i].paddr;
        for (uint64_t j = 0; j < modules[i].size && j < MODULE_TEXT; j++)
            print("%c", text[j] >= ' ' && text[j] <= '~' ? text[j] : '.');
        print("\n");
    }
}

static void print_memory_map(const struct hvm_start_info *info) {
    const struct hvm_memmap_table_entry *map =
        (const struct hvm_memmap_table_entry *)info->memmap_paddr;
    print("memory map: %lu\n", (uint64_t)info->memmap_entries);
    for (uint32_t i = 0; i < info->memmap_entries; i++)
        print("  %016lx, %lu bytes: %s\n", map[i].addr, map[i].size,
              map[i].type == HVM_MEMMAP_TYPE_RAM ? "RAM" : "reserved");
}

int main(const struct hvm_start_info *info) {
    if (info->magic != HVM_START_MAGIC) {
        print("RDI %lx is no start info\n", (uint64_t)info);
        return 1;
    }
    print_registers();
    print_segments();
    print("command line: %s\n", info->cmdline_paddr ? (const char *)info->cmdline_paddr : "");
    print_modules(info);
    print_memory_map(info);
    return 0;
}
