// Makes the mistake that its command line names; with `bare`, without a handler for any exception.

#include "guest.h"
#include "stacks.h"

#define VECTOR 0x21
#define COM2_IRQ 3
#define IER_EMPTY 0x02  // interrupt when the transmit FIFO is empty

typedef int mistake(void);

// Each mistake is a function of its own.
#define MISTAKE(name) {#name, name}

static volatile uint64_t zero;
static volatile int ready;
static mistake *volatile nowhere = (mistake *)0x300000;
static mistake *volatile no_function;
static const char *volatile no_text;

static int loops_for_ever(void) {
    while (!ready)
        asm volatile("pause");
    return 0;
}

__attribute__((interrupt)) static void sent(struct interrupt_frame *frame) {
    (void)frame;
    exit(0);
}

// COM1 has line 4.
static int waits_on_the_wrong_line(void) {
    apic_init();
    set_interrupt_handler(VECTOR, sent, 0);
    ioapic_route(COM2_IRQ, VECTOR);
    outb(UART_MCR, MCR_OUT2);
    outb(UART_IER, IER_EMPTY);
    while (!ready)
        wait_for_interrupt();
    return 0;
}

static int lets_an_interrupt_come_without_a_handler(void) {
    outb(PIC1_MASK, 0xff);
    outb(PIC2_MASK, 0xff);
    lapic_write(LAPIC_SPURIOUS, LAPIC_ENABLE | 0xff);
    lapic_write(LAPIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_TIMER, VECTOR);
    lapic_write(LAPIC_TIMER_INITIAL, 100000);
    wait_for_interrupt();
    return 0;
}

static int jumps_into_zeros(void) {
    return nowhere() + 1;
}

static int jumps_into_zeros_and_faults(void) {
    asm volatile("xor %%eax, %%eax; call *%0" : : "c"(nowhere) : "memory");
    return 0;
}

static int calls_a_null_pointer(void) {
    return no_function() + 1;
}

static int reads_a_null_pointer(void) {
    return no_text[3];
}

static int reads_where_no_ram_is(void) {
    return *(volatile uint8_t *)0xb0000000;
}

static int writes_where_no_ram_is(void) {
    *(volatile uint32_t *)0xb0000000 = 0x1234;
    return 0;
}

static int writes_beyond_the_page_tables(void) {
    *(volatile uint32_t *)0x4000000000 = 0x1234;
    return 0;
}

static int divides_by_zero(void) {
    return (int)(100 / zero);
}

static int makes_a_system_call(void) {
    asm volatile("int $0x80");
    return 0;
}

static int loses_its_stack(void) {
    asm volatile("mov %0, %%rsp; push %%rax" : : "r"(0x4000000000) : "memory");
    return 0;
}

static int loses_all_its_stacks(void) {
    task_state.ist[0] = 0x4000000000;
    return loses_its_stack();
}

static uint64_t add_up(uint64_t count) {
    volatile uint64_t kept = count;  // is needed after the call, so it takes stack
    return zero ? 0 : add_up(count + 1) + kept;
}

static int calls_itself_for_ever(void) {
    return (int)add_up(1);
}

static int has_a_large_variable(void) {
    volatile uint8_t bytes[100000];
    bytes[zero] = 1;
    return bytes[0];
}

static void user(void) {
    asm volatile("cli");
}

static int does_in_ring_3_what_is_for_ring_0(void) {
    static uint8_t stack[256] __attribute__((aligned(16)));
    ring_3_allow((uintptr_t)user, 1);
    ring_3_enter((uintptr_t)user, (uintptr_t)(stack + sizeof stack));
}

static const struct {
    const char *name;
    mistake *make;
} mistakes[] = {
    MISTAKE(loops_for_ever),
    MISTAKE(waits_on_the_wrong_line),
    MISTAKE(lets_an_interrupt_come_without_a_handler),
    MISTAKE(jumps_into_zeros),
    MISTAKE(jumps_into_zeros_and_faults),
    MISTAKE(calls_a_null_pointer),
    MISTAKE(reads_a_null_pointer),
    MISTAKE(reads_where_no_ram_is),
    MISTAKE(writes_where_no_ram_is),
    MISTAKE(writes_beyond_the_page_tables),
    MISTAKE(divides_by_zero),
    MISTAKE(makes_a_system_call),
    MISTAKE(loses_its_stack),
    MISTAKE(loses_all_its_stacks),
    MISTAKE(calls_itself_for_ever),
    MISTAKE(has_a_large_variable),
    MISTAKE(does_in_ring_3_what_is_for_ring_0),
};

int main(const struct hvm_start_info *info) {
    static const struct table_register empty;
    const char *line = (const char *)info->cmdline_paddr;
    const char *name = find_word(line, "mistake=");
    if (find_word(line, "bare"))
        asm volatile("lidt %0" : : "m"(empty));
    for (size_t i = 0; name && i < sizeof mistakes / sizeof *mistakes; i++) {
        const char *wanted = name, *known = mistakes[i].name;
        while (*known && *wanted == *known)
            wanted++, known++;
        if (!*known && (!*wanted || *wanted == ' '))
            return mistakes[i].make();
    }
    print("no such mistake\n");
    return 1;
}
