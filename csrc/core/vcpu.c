/* vcpu.c: a vCPU, its state, and its run loop. Source: the KVM API, 4 and 5. */
#include <linux/kvm.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_CPUID 256
#define MAX_MSRS 256
#define PAGE 4096
#define MAX_RING ((PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

_Static_assert(ARRAY_SIZE(((struct ringlet_vcpu *)0)->exits) == RINGLET_EXIT_KINDS,
	       "a counter for each kind of exit");

static const struct {
	unsigned long get, set;
	size_t size;
} states[] = {
	[RINGLET_STATE_REGS] = { KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs) },
	[RINGLET_STATE_SREGS] = { KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs) },
	[RINGLET_STATE_XSAVE] = { KVM_GET_XSAVE, KVM_SET_XSAVE, sizeof(struct kvm_xsave) },
	[RINGLET_STATE_XCRS] = { KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs) },
	[RINGLET_STATE_MP_STATE] = { KVM_GET_MP_STATE, KVM_SET_MP_STATE,
				     sizeof(struct kvm_mp_state) },
	[RINGLET_STATE_EVENTS] = { KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
				   sizeof(struct kvm_vcpu_events) },
	[RINGLET_STATE_LAPIC] = { KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state) },
	[RINGLET_STATE_DEBUGREGS] = { KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
				      sizeof(struct kvm_debugregs) },
};

int ringlet_vcpu_create(int vm, int id, int run_size, struct ringlet_vcpu *vcpu)
{
	int signal = ringlet_kick_signal();
	void *run;

	if (signal < 0)
		return signal;
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->fd = ringlet_ioctl(vm, KVM_CREATE_VCPU, (void *)(long)id);
	if (vcpu->fd < 0)
		return vcpu->fd;
	run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED) {
		int error = -errno;

		close(vcpu->fd);
		return error;
	}
	vcpu->run = run;
	vcpu->run_size = (size_t)run_size;
	if (vcpu->run_size >= (KVM_COALESCED_MMIO_PAGE_OFFSET + 1) * PAGE)
		vcpu->ring = (void *)((char *)run + KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE);
	return 0;
}

void ringlet_vcpu_destroy(struct ringlet_vcpu *vcpu)
{
	ringlet_vcpu_tick(vcpu, 0);
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
	/* Whoever still uses it gets -EBADF, and touches neither the mapping nor a reused fd. */
	vcpu->fd = -1;
	vcpu->run = NULL;
	vcpu->ring = NULL;
	vcpu->data_size = vcpu->size = vcpu->count = 0;
}

int ringlet_vcpu_state_size(int state)
{
	if (state < 0 || (size_t)state >= ARRAY_SIZE(states))
		return -EINVAL;
	return (int)states[state].size;
}

int ringlet_vcpu_get_state(struct ringlet_vcpu *vcpu, int state, void *buffer, size_t size)
{
	if (state < 0 || (size_t)state >= ARRAY_SIZE(states) || size != states[state].size)
		return -EINVAL;
	return ringlet_ioctl(vcpu->fd, states[state].get, buffer);
}

int ringlet_vcpu_set_state(struct ringlet_vcpu *vcpu, int state, const void *buffer, size_t size)
{
	if (state < 0 || (size_t)state >= ARRAY_SIZE(states) || size != states[state].size)
		return -EINVAL;
	return ringlet_ioctl(vcpu->fd, states[state].set, buffer);
}

int ringlet_vcpu_set_cpuid(struct ringlet_vcpu *vcpu, const void *entries, int count)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[MAX_CPUID];
	} cpuid;

	if (count < 0 || count > MAX_CPUID)
		return -E2BIG;
	memset(&cpuid.head, 0, sizeof(cpuid.head));
	cpuid.head.nent = (uint32_t)count;
	memcpy(cpuid.entries, entries, (size_t)count * sizeof(cpuid.entries[0]));
	return ringlet_ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid);
}

int ringlet_vcpu_get_cpuid(struct ringlet_vcpu *vcpu, void *entries, int count)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[MAX_CPUID];
	} cpuid;
	static const struct kvm_cpuid_entry2 none;
	int result;

	if (count < 0 || count > MAX_CPUID)
		return -E2BIG;
	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = (uint32_t)count;
	result = ringlet_ioctl(vcpu->fd, KVM_GET_CPUID2, &cpuid);
	if (result < 0)
		return result;
	/* Linux 6.1 doesn't say how many there are: no entry is all zeros. */
	while (cpuid.head.nent && !memcmp(&cpuid.entries[cpuid.head.nent - 1], &none, sizeof(none)))
		cpuid.head.nent--;
	memcpy(entries, cpuid.entries, cpuid.head.nent * sizeof(cpuid.entries[0]));
	return (int)cpuid.head.nent;
}

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[MAX_MSRS];
};

static int prepare_msrs(struct msrs *msrs, const uint32_t *index, int count)
{
	if (count < 0 || count > MAX_MSRS)
		return -E2BIG;
	memset(msrs, 0, sizeof(*msrs));
	msrs->head.nmsrs = (uint32_t)count;
	for (int i = 0; i < count; i++)
		msrs->entries[i].index = index[i];
	return 0;
}

int ringlet_vcpu_get_msrs(struct ringlet_vcpu *vcpu, const uint32_t *index, uint64_t *value,
			  int count)
{
	struct msrs msrs;
	int result = prepare_msrs(&msrs, index, count);

	if (result == 0)
		result = ringlet_ioctl(vcpu->fd, KVM_GET_MSRS, &msrs);
	for (int i = 0; i < result; i++)
		value[i] = msrs.entries[i].data;
	return result;
}

int ringlet_vcpu_set_msrs(struct ringlet_vcpu *vcpu, const uint32_t *index, const uint64_t *value,
			  int count)
{
	struct msrs msrs;
	int result = prepare_msrs(&msrs, index, count);

	if (result < 0)
		return result;
	for (int i = 0; i < count; i++)
		msrs.entries[i].data = value[i];
	return ringlet_ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
}

int ringlet_vcpu_translate(struct ringlet_vcpu *vcpu, uint64_t linear, uint64_t *physical)
{
	struct kvm_translation translation = { .linear_address = linear };
	int result = ringlet_ioctl(vcpu->fd, KVM_TRANSLATE, &translation);

	if (result < 0)
		return result;
	if (!translation.valid)
		return -EFAULT;
	*physical = translation.physical_address;
	return 0;
}

int ringlet_vcpu_guest_debug(struct ringlet_vcpu *vcpu, uint32_t control,
			     const uint64_t debugreg[8])
{
	struct kvm_guest_debug debug = { .control = control };

	memcpy(debug.arch.debugreg, debugreg, sizeof(debug.arch.debugreg));
	return ringlet_ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &debug);
}

const uint8_t *ringlet_vcpu_share_registers(struct ringlet_vcpu *vcpu)
{
	struct kvm_sync_regs *shared = &vcpu->run->s.regs;

	_Static_assert(offsetof(struct kvm_sync_regs, sregs) == sizeof(shared->regs),
		       "one behind the other");
	vcpu->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	return (const uint8_t *)shared;
}

static uint64_t finish(struct ringlet_vcpu *vcpu, enum ringlet_exit_kind kind)
{
	vcpu->exits[kind]++;
	return (uint64_t)kind << 56;
}

static uint64_t finish_with(struct ringlet_vcpu *vcpu, enum ringlet_exit_kind kind, uint64_t first,
			    const uint64_t *more, size_t count)
{
	if (count > ARRAY_SIZE(vcpu->detail) - 1)
		count = ARRAY_SIZE(vcpu->detail) - 1;
	vcpu->detail[0] = first;
	if (count)
		memcpy(vcpu->detail + 1, more, count * sizeof(*more));
	vcpu->detail_count = 1 + (uint32_t)count;
	return finish(vcpu, kind);
}

static uint64_t single_access(enum ringlet_exit_kind kind, int write, uint32_t size,
			      uint64_t port, uint32_t value)
{
	return (uint64_t)kind << 56 | (uint64_t)write << 51 | (uint64_t)size << 48 |
	       (port & 0xffff) << 32 | value;
}

static uint64_t finish_port(struct ringlet_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int write = run->io.direction == KVM_EXIT_IO_OUT;
	uint32_t value = 0;

	vcpu->address = run->io.port;
	vcpu->size = run->io.size;
	vcpu->count = run->io.count;
	vcpu->write = write;
	vcpu->data = (uint8_t *)run + run->io.data_offset;
	if (run->io.count != 1)
		return finish(vcpu, RINGLET_EXIT_PORT_STRING);
	if (write)
		memcpy(&value, vcpu->data, vcpu->size);
	else
		vcpu->data_size = vcpu->size;
	finish(vcpu, RINGLET_EXIT_PORT);
	return single_access(RINGLET_EXIT_PORT, write, vcpu->size, run->io.port, value);
}

static uint64_t finish_mmio(struct ringlet_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t value = 0;

	vcpu->address = run->mmio.phys_addr;
	vcpu->size = run->mmio.len;
	vcpu->count = 1;
	vcpu->write = run->mmio.is_write;
	vcpu->data = run->mmio.data;
	if (!vcpu->write)
		vcpu->data_size = vcpu->size;
	if (vcpu->size > sizeof(value))
		return finish(vcpu, RINGLET_EXIT_MMIO);
	if (vcpu->write)
		memcpy(&value, vcpu->data, vcpu->size);
	finish(vcpu, RINGLET_EXIT_MMIO);
	return single_access(RINGLET_EXIT_MMIO, vcpu->write, vcpu->size, 0, value);
}

static uint64_t finish_internal_error(struct ringlet_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t count = run->internal.ndata;

	if (count > ARRAY_SIZE(run->internal.data))
		count = ARRAY_SIZE(run->internal.data);
	return finish_with(vcpu, RINGLET_EXIT_INTERNAL_ERROR, run->internal.suberror,
			   (const uint64_t *)run->internal.data, count);
}

static uint64_t finish_system_event(struct ringlet_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t count = run->system_event.ndata;

	if (count > ARRAY_SIZE(run->system_event.data))
		count = ARRAY_SIZE(run->system_event.data);
	return finish_with(vcpu, RINGLET_EXIT_SYSTEM_EVENT, run->system_event.type,
			   (const uint64_t *)run->system_event.data, count);
}

static uint64_t finish_debug(struct ringlet_vcpu *vcpu)
{
	const struct kvm_debug_exit_arch *arch = &vcpu->run->debug.arch;
	uint64_t more[] = { arch->pc, arch->dr6, arch->dr7 };

	return finish_with(vcpu, RINGLET_EXIT_DEBUG, arch->exception, more, ARRAY_SIZE(more));
}

/* The ring is the kernel's: a producer of `last`, while we consume `first`. */
static int has_coalesced(const struct ringlet_vcpu *vcpu)
{
	return vcpu->ring &&
	       vcpu->ring->first != __atomic_load_n(&vcpu->ring->last, __ATOMIC_ACQUIRE);
}

static uint64_t next_coalesced(struct ringlet_vcpu *vcpu)
{
	struct kvm_coalesced_mmio_ring *ring = vcpu->ring;
	uint32_t first = ring->first % MAX_RING;
	const struct kvm_coalesced_mmio *write = &ring->coalesced_mmio[first];
	uint64_t code = single_access(RINGLET_EXIT_PORT, 1, 1, write->phys_addr, write->data[0]);

	__atomic_store_n(&ring->first, (first + 1) % MAX_RING, __ATOMIC_RELEASE);
	return code;
}

static uint64_t enter(struct ringlet_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int result;

	ringlet_kick_enter(vcpu);
	/* EAGAIN: a vCPU that waited to be started has been, and wants to be run again. */
	do
		result = ringlet_ioctl(vcpu->fd, KVM_RUN, NULL);
	while (result == -EAGAIN);
	ringlet_kick_leave();

	if (result == -EINTR) {
		/* Cleared before the caller looks at what it was: a later kick is not lost. */
		__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		return finish(vcpu, RINGLET_EXIT_INTERRUPTED);
	}
	if (result < 0)
		return finish_with(vcpu, RINGLET_EXIT_ERROR, (uint64_t)-result, NULL, 0);

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return finish_port(vcpu);
	case KVM_EXIT_MMIO:
		return finish_mmio(vcpu);
	case KVM_EXIT_HLT:
		return finish(vcpu, RINGLET_EXIT_HALT);
	case KVM_EXIT_SHUTDOWN:
		return finish(vcpu, RINGLET_EXIT_SHUTDOWN);
	case KVM_EXIT_SYSTEM_EVENT:
		return finish_system_event(vcpu);
	case KVM_EXIT_INTERNAL_ERROR:
		return finish_internal_error(vcpu);
	case KVM_EXIT_DEBUG:
		return finish_debug(vcpu);
	case KVM_EXIT_FAIL_ENTRY: {
		uint64_t cpu = run->fail_entry.cpu;

		return finish_with(vcpu, RINGLET_EXIT_FAIL_ENTRY,
				   run->fail_entry.hardware_entry_failure_reason, &cpu, 1);
	}
	case KVM_EXIT_INTR:
		return finish(vcpu, RINGLET_EXIT_INTERRUPTED);
	default:
		return finish_with(vcpu, RINGLET_EXIT_UNKNOWN, run->exit_reason, NULL, 0);
	}
}

uint64_t ringlet_vcpu_run(struct ringlet_vcpu *vcpu, uint64_t reply)
{
	uint64_t code;

	if (!vcpu->delayed) {
		if (vcpu->data_size) {
			memcpy(vcpu->data, &reply, vcpu->data_size);
			vcpu->data_size = 0;
		}
		code = enter(vcpu);
		if (!has_coalesced(vcpu))
			return code;
		vcpu->delayed = code;
	}
	if (has_coalesced(vcpu))
		return next_coalesced(vcpu);
	code = vcpu->delayed;
	vcpu->delayed = 0;
	return code;
}
