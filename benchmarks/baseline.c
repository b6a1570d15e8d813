/* The yardstick of the benchmarks: a guest in /dev/kvm by bare C, with the ioctls ringlet issues.
 *
 *     gcc -O2 -o baseline baseline.c
 *     baseline [--memory MIB] [--cmdline TEXT] [--bench-start [--repeat N] | --bench-exits] IMAGE
 *
 * IMAGE is an ELF64 with a PVH note, any other ELF64 (entered in long mode), or else a flat image
 * for real mode. COM1 can transmit and the exit port 0xf4 gives the status; nothing else is there.
 * A guest that halts for good halts this program too.
 *
 *     --bench-start   JSON: seconds from the open of /dev/kvm to the guest's first exit, for each
 *                     of N machines made one after another
 *     --bench-exits   JSON: how many exits, and seconds between the first and the last
 *
 * KVM: the Linux kernel's Documentation/virt/kvm/api.rst. PVH: Xen's docs/misc/pvh.pandoc.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ull << 20)

/* The guest's address map, as in board/layout.py. */
#define STACK_TOP 0x6000
#define GDT 0x6000
#define START_INFO 0x7000
#define MEMORY_MAP 0x7100
#define COMMAND_LINE 0x8000
#define COMMAND_LINE_SIZE 0x1000
#define PAGE_TABLES 0x9000
#define FLAT_LOAD 0x7c00
#define TSS 0xfffbd000

#define COM1_THR 0x3f8
#define COM1_LSR 0x3fd
#define LSR_TRANSMITTER_EMPTY 0x60
#define EXIT_PORT 0xf4
#define STATUS_CRASHED 70
#define STATUS_FAILED 125

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define HVM_START_MAGIC 0x336ec578

struct hvm_start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
    uint32_t memmap_entries, reserved;
};

struct hvm_memmap_table_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};

struct machine {
    int kvm, vm, vcpu;
    uint8_t *memory;
    uint64_t memory_size;
    struct kvm_run *run;
    size_t run_size;
};

static void die(const char *what) {
    fprintf(stderr, "baseline: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(STATUS_FAILED);
}

static int check(int result, const char *what) {
    if (result < 0)
        die(what);
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

/* Memory slots come before the interrupt controllers: a software KVM takes 8 ms otherwise. */
static void create(struct machine *m) {
    m->kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    if (ioctl(m->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        die("an API version other than 12");
    m->vm = check(ioctl(m->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    struct kvm_enable_cap quirks = {.cap = KVM_CAP_DISABLE_QUIRKS2};
    quirks.args[0] = KVM_X86_QUIRK_FIX_HYPERCALL_INSN;
    if (ioctl(m->vm, KVM_CHECK_EXTENSION, quirks.cap) & KVM_X86_QUIRK_FIX_HYPERCALL_INSN)
        check(ioctl(m->vm, KVM_ENABLE_CAP, &quirks), "KVM_ENABLE_CAP");
    check(ioctl(m->vm, KVM_SET_TSS_ADDR, TSS), "KVM_SET_TSS_ADDR");

    m->memory = mmap(NULL, m->memory_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->memory == MAP_FAILED)
        die("memory");
    struct kvm_userspace_memory_region slot = {
        .memory_size = m->memory_size,
        .userspace_addr = (uintptr_t)m->memory,
    };
    check(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    check(ioctl(m->vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");

    m->vcpu = check(ioctl(m->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    m->run_size = (size_t)check(ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
    if (m->run == MAP_FAILED)
        die("kvm_run");

    static struct { /* the host's: asked once, as ringlet does */
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[256];
    } cpuid;
    if (cpuid.head.nent == 0) {
        cpuid.head.nent = 256;
        check(ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    }
    check(ioctl(m->vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
}

static void destroy(struct machine *m) {
    munmap(m->run, m->run_size);
    close(m->vcpu);
    close(m->vm);
    close(m->kvm);
    munmap(m->memory, m->memory_size);
}

/* Reads exactly `size` bytes of the image into guest memory. */
static void load(struct machine *m, int image, uint64_t offset, uint64_t address, uint64_t size) {
    if (address > m->memory_size || size > m->memory_size - address)
        die("a segment is outside memory");
    while (size) {
        ssize_t got = pread(image, m->memory + address, size, (off_t)offset);
        if (got <= 0)
            die("the image is cut short");
        offset += (uint64_t)got;
        address += (uint64_t)got;
        size -= (uint64_t)got;
    }
}

/* The entry point of a PVH image, or 0 if this segment holds no such note. */
static uint64_t pvh_entry(int image, const Elf64_Phdr *segment) {
    uint8_t notes[4096];
    if (segment->p_filesz > sizeof notes)
        return 0;
    ssize_t size = pread(image, notes, segment->p_filesz, (off_t)segment->p_offset);
    Elf64_Nhdr note;
    for (ssize_t at = 0; at + (ssize_t)sizeof note <= size;) {
        memcpy(&note, notes + at, sizeof note);
        ssize_t name = at + (ssize_t)sizeof note;
        ssize_t descriptor = name + (((ssize_t)note.n_namesz + 3) & ~3);
        at = descriptor + (((ssize_t)note.n_descsz + 3) & ~3);
        if (at > size || note.n_type != XEN_ELFNOTE_PHYS32_ENTRY || note.n_namesz != 4 ||
            memcmp(notes + name, "Xen", 4) != 0 || (note.n_descsz != 4 && note.n_descsz != 8))
            continue;
        uint64_t entry = 0;
        memcpy(&entry, notes + descriptor, note.n_descsz);
        return entry;
    }
    return 0;
}

static void write_start_info(struct machine *m, const char *command_line) {
    struct hvm_start_info info = {
        .magic = HVM_START_MAGIC,
        .version = 1,
        .cmdline_paddr = COMMAND_LINE,
        .memmap_paddr = MEMORY_MAP,
        .memmap_entries = 1,
    };
    struct hvm_memmap_table_entry map = {.size = m->memory_size, .type = 1};
    memcpy(m->memory + START_INFO, &info, sizeof info);
    memcpy(m->memory + MEMORY_MAP, &map, sizeof map);
    strncpy((char *)m->memory + COMMAND_LINE, command_line, COMMAND_LINE_SIZE - 1);
}

/* Identity-maps the first 4 GiB with pages of 2 MiB: one PML4, one PDPT, four page directories. */
static void write_page_tables(struct machine *m) {
    uint64_t *table = (uint64_t *)(m->memory + PAGE_TABLES);
    table[0] = (PAGE_TABLES + 0x1000) | 0x3; /* present, writable */
    for (uint64_t i = 0; i < 4; i++)
        table[512 + i] = (PAGE_TABLES + 0x2000 + i * 0x1000) | 0x3;
    for (uint64_t i = 0; i < 4 * 512; i++)
        table[1024 + i] = i * 2 * MIB | 0x83; /* and large */
}

static void set_segments(struct kvm_sregs *sregs, int long_mode) {
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 0x08, .type = 0xb, .present = 1, .s = 1, .g = 1,
        .l = long_mode, .db = !long_mode,
    };
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = 0x10, .type = 0x3, .present = 1, .s = 1, .g = 1, .db = 1,
    };
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    struct kvm_segment tss = {.limit = 0x67, .type = 0xb, .present = 1};
    sregs->tr = tss;
}

/* Loads the image and sets the registers as its boot protocol says. */
static void boot(struct machine *m, const char *path, const char *command_line) {
    int image = check(open(path, O_RDONLY | O_CLOEXEC), path);
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rflags = 0x2, .rsp = STACK_TOP - 8};
    check(ioctl(m->vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");

    Elf64_Ehdr elf;
    errno = 0;
    if (pread(image, &elf, sizeof elf, 0) != sizeof elf)
        die("the image is cut short");
    if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0) {
        struct stat status;
        check(fstat(image, &status), path);
        load(m, image, 0, FLAT_LOAD, (uint64_t)status.st_size);
        sregs.cs.base = sregs.cs.selector = 0;
        regs.rip = FLAT_LOAD;
        regs.rdx = 0x80; /* the first hard disk, where a boot sector comes from */
    } else {
        Elf64_Phdr segments[32];
        ssize_t size = (ssize_t)(elf.e_phnum * sizeof *segments);
        if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != EM_X86_64 ||
            elf.e_phentsize != sizeof *segments || elf.e_phnum > 32 ||
            pread(image, segments, (size_t)size, (off_t)elf.e_phoff) != size)
            die("the ELF header is not one of x86-64");
        uint64_t pvh = 0;
        for (int i = 0; i < elf.e_phnum; i++) {
            if (segments[i].p_type == PT_LOAD)
                load(m, image, segments[i].p_offset, segments[i].p_paddr, segments[i].p_filesz);
            if (segments[i].p_type == PT_NOTE && !pvh)
                pvh = pvh_entry(image, &segments[i]);
        }
        write_start_info(m, command_line);
        static const uint64_t gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
        set_segments(&sregs, !pvh);
        if (pvh) {
            sregs.cr0 = 0x11; /* PE, ET */
            regs.rip = pvh;
            regs.rbx = START_INFO;
        } else {
            memcpy(m->memory + GDT, gdt, sizeof gdt);
            write_page_tables(m);
            sregs.gdt.base = GDT;
            sregs.gdt.limit = sizeof gdt - 1;
            sregs.cr0 = 0x80000011; /* PG, PE, ET */
            sregs.cr3 = PAGE_TABLES;
            sregs.cr4 = 0x20;   /* PAE */
            sregs.efer = 0x500; /* LMA, LME */
            regs.rip = elf.e_entry;
            regs.rdi = START_INFO;
        }
    }
    close(image);
    check(ioctl(m->vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    check(ioctl(m->vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

/* Runs until the next exit to us. */
static void run(struct machine *m) {
    while (ioctl(m->vcpu, KVM_RUN, 0) < 0)
        if (errno != EINTR)
            die("KVM_RUN");
}

/* One port access: the run's status if it ends the run, -1 if it goes on. */
static int port_io(const struct kvm_run *run, int serial) {
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    size_t size = (size_t)run->io.size * run->io.count;
    if (run->io.direction == KVM_EXIT_IO_OUT) {
        if (run->io.port == EXIT_PORT)
            return data[0];
        if (run->io.port == COM1_THR && write(serial, data, size) != (ssize_t)size)
            die("write");
    } else
        memset(data, run->io.port == COM1_LSR ? LSR_TRANSMITTER_EMPTY : 0xff, size);
    return -1;
}

static void usage(void) {
    fputs("usage: baseline [--memory MIB] [--cmdline TEXT] "
          "[--bench-start [--repeat N] | --bench-exits] IMAGE\n", stderr);
    exit(STATUS_FAILED);
}

int main(int argc, char **argv) {
    struct machine m = {.memory_size = 64 * MIB};
    const char *command_line = "", *image = NULL;
    int bench_start = 0, bench_exits = 0;
    long repeat = 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench-start"))
            bench_start = 1;
        else if (!strcmp(argv[i], "--bench-exits"))
            bench_exits = 1;
        else if (!strcmp(argv[i], "--memory") && i + 1 < argc)
            m.memory_size = strtoull(argv[++i], NULL, 10) * MIB;
        else if (!strcmp(argv[i], "--cmdline") && i + 1 < argc)
            command_line = argv[++i];
        else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
            repeat = strtol(argv[++i], NULL, 10);
        else if (argv[i][0] != '-' && !image)
            image = argv[i];
        else
            usage();
    }
    if (!image || m.memory_size < MIB || m.memory_size > 3072 * MIB)
        usage();

    if (bench_start) {
        printf("{\"seconds\": [");
        for (long i = 0; i < repeat; i++) {
            double start = now();
            create(&m);
            boot(&m, image, command_line);
            run(&m);
            printf("%s%.9f", i ? ", " : "", now() - start);
            destroy(&m);
        }
        printf("]}\n");
        return 0;
    }

    create(&m);
    boot(&m, image, command_line);
    unsigned long exits = 0;
    double first = 0;
    for (int status = -1; status < 0;) {
        run(&m);
        if (exits++ == 0)
            first = now();
        if (m.run->exit_reason == KVM_EXIT_IO)
            status = port_io(m.run, bench_exits ? STDERR_FILENO : STDOUT_FILENO);
        else if (m.run->exit_reason == KVM_EXIT_MMIO)
            memset(m.run->mmio.data, 0xff, sizeof m.run->mmio.data);
        else {
            fprintf(stderr, "baseline: KVM exit reason %u\n", m.run->exit_reason);
            return STATUS_CRASHED;
        }
        if (status >= 0) {
            if (bench_exits)
                printf("{\"exits\": %lu, \"seconds\": %.9f}\n", exits, now() - first);
            return status;
        }
    }
}
