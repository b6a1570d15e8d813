/*
 * ringlet.h: the whole C API of the core.
 *
 * What Python can't do, or not fast enough: the ioctls of /dev/kvm, the vCPU's run loop, and
 * what must be done in a signal handler. No policy, no output, no exit. A function that
 * returns int returns -errno where it fails.
 *
 * cffi's declarations are made from this text (all lines but the preprocessor's), so it is
 * the one place where a function or structure is declared.
 *
 * Source: Linux, Documentation/virt/kvm/api.rst.
 */
#ifndef RINGLET_H
#define RINGLET_H

#include <stddef.h>
#include <stdint.h>

/* --- /dev/kvm and virtual machines (vm.c) ------------------------------------------- */

int ringlet_kvm_open(const char *path);
int ringlet_kvm_api_version(int kvm);
int ringlet_kvm_mmap_size(int kvm);
/* Fills at most `count` struct kvm_cpuid_entry2 and returns how many there are. */
int ringlet_kvm_supported_cpuid(int kvm, void *entries, int count);
/* Of /dev/kvm or of a VM: 0 where the capability is missing. */
int ringlet_check_extension(int fd, int capability);

int ringlet_vm_create(int kvm);
int ringlet_vm_enable_capability(int vm, uint32_t capability, uint64_t argument);
int ringlet_vm_set_tss_address(int vm, uint64_t address);
/* Maps `size` bytes of the host at guest-physical `address`; a size of 0 removes the slot. */
int ringlet_vm_set_memory(int vm, uint32_t slot, int readonly, uint64_t address, uint64_t size,
			  void *host);
/* PIC, I/O APIC and local APICs in the kernel: after the memory, before the vCPUs. */
int ringlet_vm_create_irqchip(int vm);
/* Fills the 512 bytes of a struct kvm_pic_state (chip 0 and 1) or kvm_ioapic_state (chip 2). */
int ringlet_vm_get_irqchip(int vm, uint32_t chip, void *state);
int ringlet_vm_create_pit(int vm);
int ringlet_vm_set_irq(int vm, uint32_t gsi, int level);
/* A write to the eventfd `fd` is an edge on `gsi`. */
int ringlet_vm_irqfd(int vm, int fd, uint32_t gsi, int deassign);
/* A guest's write of `length` bytes at `address` signals `fd` and makes no exit. */
int ringlet_vm_ioeventfd(int vm, int fd, uint64_t address, uint32_t length, int port, int match,
			 uint64_t value, int deassign);
/* A guest's writes of one byte to `port` make no exit: see ringlet_vcpu_run. For a VM with one
   vCPU: with more, their order would be lost. */
int ringlet_vm_coalesce_port(int vm, uint16_t port);

/* --- vCPUs (vcpu.c) ------------------------------------------------------------------ */

enum ringlet_exit_kind {
	RINGLET_EXIT_PORT,	  /* one port read or write of 1, 2 or 4 bytes */
	RINGLET_EXIT_PORT_STRING, /* ins or outs: `count` of them, in `data` */
	RINGLET_EXIT_MMIO,	  /* in `address`, `size`, `write`, `data` */
	RINGLET_EXIT_HALT,
	RINGLET_EXIT_SHUTDOWN,	     /* a triple fault */
	RINGLET_EXIT_SYSTEM_EVENT,   /* in `detail`: type, data */
	RINGLET_EXIT_INTERNAL_ERROR, /* in `detail`: suberror, data */
	RINGLET_EXIT_DEBUG,	     /* in `detail`: exception, pc, dr6, dr7 */
	RINGLET_EXIT_FAIL_ENTRY,     /* in `detail`: hardware reason, cpu */
	RINGLET_EXIT_INTERRUPTED,    /* kicked, ticked, or a signal of the program's */
	RINGLET_EXIT_UNKNOWN,	     /* in `detail`: KVM's exit reason */
	RINGLET_EXIT_ERROR,	     /* in `detail`: errno of KVM_RUN */
	RINGLET_EXIT_KINDS
};

struct kvm_run;
struct kvm_coalesced_mmio_ring;

struct ringlet_vcpu {
	int fd;
	int thread; /* that runs it or ran it last, as gettid() says; 0 before */
	struct kvm_run *run;
	size_t run_size;
	struct kvm_coalesced_mmio_ring *ring; /* writes that made no exit, or NULL */
	uint64_t delayed;		      /* the exit that comes after those writes, or 0 */
	void *timer;   /* of the tick */
	int has_timer;

	/* The last exit. */
	uint64_t address;
	uint32_t size;	/* bytes of one access */
	uint32_t count; /* accesses */
	int write;
	uint8_t *data;	    /* `size` * `count` bytes to write, or to be filled by the reader */
	uint32_t data_size; /* the reply that run() stores there by itself, or 0 */
	uint32_t detail_count;
	uint64_t detail[18];

	uint64_t exits[12]; /* how many of each kind: RINGLET_EXIT_KINDS */
};

/* The vCPU's state as KVM's own structures, bytes for bytes. */
enum ringlet_state {
	RINGLET_STATE_REGS,	/* struct kvm_regs */
	RINGLET_STATE_SREGS,	/* struct kvm_sregs */
	RINGLET_STATE_XSAVE,	/* struct kvm_xsave */
	RINGLET_STATE_XCRS,	/* struct kvm_xcrs */
	RINGLET_STATE_MP_STATE, /* struct kvm_mp_state */
	RINGLET_STATE_EVENTS,	/* struct kvm_vcpu_events */
	RINGLET_STATE_LAPIC,	/* struct kvm_lapic_state */
	RINGLET_STATE_DEBUGREGS /* struct kvm_debugregs: the guest's own */
};

int ringlet_vcpu_create(int vm, int id, int run_size, struct ringlet_vcpu *vcpu);
void ringlet_vcpu_destroy(struct ringlet_vcpu *vcpu);
int ringlet_vcpu_state_size(int state);
int ringlet_vcpu_get_state(struct ringlet_vcpu *vcpu, int state, void *buffer, size_t size);
int ringlet_vcpu_set_state(struct ringlet_vcpu *vcpu, int state, const void *buffer, size_t size);
int ringlet_vcpu_set_cpuid(struct ringlet_vcpu *vcpu, const void *entries, int count);
int ringlet_vcpu_get_cpuid(struct ringlet_vcpu *vcpu, void *entries, int count);
/* Both return how many were done: KVM stops at the first that it doesn't know. */
int ringlet_vcpu_get_msrs(struct ringlet_vcpu *vcpu, const uint32_t *index, uint64_t *value,
			  int count);
int ringlet_vcpu_set_msrs(struct ringlet_vcpu *vcpu, const uint32_t *index, const uint64_t *value,
			  int count);
/* Linear to guest-physical address by the vCPU's page tables; -EFAULT where there is none. */
int ringlet_vcpu_translate(struct ringlet_vcpu *vcpu, uint64_t linear, uint64_t *physical);
/* KVM_GUESTDBG_ bits in `control`; the debugger's DR0 to DR7, which hide the guest's own while
   KVM_GUESTDBG_USE_HW_BP is set. */
int ringlet_vcpu_guest_debug(struct ringlet_vcpu *vcpu, uint32_t control,
			     const uint64_t debugreg[8]);
/* From now on, KVM leaves a struct kvm_regs and then a struct kvm_sregs at the returned place with
   each exit (KVM_CAP_SYNC_REGS, which KVM must have). The place is valid until the vCPU is
   destroyed. */
const uint8_t *ringlet_vcpu_share_registers(struct ringlet_vcpu *vcpu);

/*
 * Runs the guest up to its next exit. `reply` is what the read that the last exit was gives
 * to the guest (port or MMIO; else it is ignored). Returns the exit in one number:
 *
 *   59..56 kind | 51 write | 50..48 size | 47..32 port | 31..0 value written
 *
 * of which RINGLET_EXIT_PORT has all, and RINGLET_EXIT_MMIO all but the port, if its size is at
 * most 4; the others have the kind alone. For the rest see struct ringlet_vcpu.
 * Writes that were coalesced before an exit are returned first, one a call, as if each had made
 * an exit of its own.
 */
uint64_t ringlet_vcpu_run(struct ringlet_vcpu *vcpu, uint64_t reply);

/* --- getting a vCPU out of the guest (kick.c) ------------------------------------------ */

/* Reserves the real-time signal and returns its number. Once for a process. */
int ringlet_kick_signal(void);
/* Makes the run that is under way, or else the next one, end as RINGLET_EXIT_INTERRUPTED.
   From any thread. */
int ringlet_vcpu_kick(struct ringlet_vcpu *vcpu);
/* From the thread that runs the vCPU: interrupts a run every `interval` nanoseconds; 0 ends it. */
int ringlet_vcpu_tick(struct ringlet_vcpu *vcpu, uint64_t interval);

/* --- virtqueues (virtqueue.c) ----------------------------------------------------------- */

/* A range of guest-physical memory and where the host has it. */
struct ringlet_region {
	uint64_t address;
	uint64_t size;
	uint8_t *host;
};

enum { RINGLET_QUEUE_MAX = 1024, RINGLET_CHAIN_MAX = 1024, RINGLET_BATCH_MAX = 64 };

/* One buffer of a chain: `size` bytes, `offset` bytes into the region of this number. */
struct ringlet_buffer {
	uint32_t size;
	uint32_t region;
	uint64_t offset;
};

/* What the driver hands over at once: buffers to read, then buffers to write. */
struct ringlet_chain {
	uint32_t head;
	uint32_t count;
	uint32_t readable; /* how many of them are to read */
	struct ringlet_buffer buffers[1024];
};

/* Chains that are popped together. */
struct ringlet_batch {
	uint32_t count;	      /* chains */
	uint32_t heads[64];
	uint32_t buffers[64]; /* of each chain */
	uint32_t readable[64];
	struct ringlet_buffer all[2048]; /* the buffers of the first chain, then of the second, ... */
};

struct ringlet_virtqueue {
	const struct ringlet_region *regions;
	uint32_t region_count;

	uint32_t size;
	int event_index;
	uint8_t *descriptors;
	uint8_t *available;
	uint8_t *used;
	uint16_t next_available; /* entry of the available ring that is read next */
	uint16_t next_used;	 /* entry of the used ring that is written next */
	uint16_t published;	 /* idx of the used ring, as the driver knows it */
};

/* Begins with the rings at these guest-physical addresses, once `regions` is set. -EINVAL for a
   size or an alignment that the specification doesn't have, -EFAULT outside memory. */
int ringlet_virtqueue_enable(struct ringlet_virtqueue *queue, uint32_t size, uint64_t descriptors,
			     uint64_t available, uint64_t used, int event_index);
/* The next chain: 1, 0 where none waits. An error code where the driver broke the rules. */
int ringlet_virtqueue_pop(struct ringlet_virtqueue *queue, struct ringlet_chain *chain);
/* The chains that wait, at most RINGLET_BATCH_MAX of them: how many. `chain` is scratch. An error code
   where the first of them is wrong; a later wrong one is left for the next call. */
int ringlet_virtqueue_pop_batch(struct ringlet_virtqueue *queue, struct ringlet_chain *chain,
				struct ringlet_batch *batch);
/* Asks the driver to notify of the next chain. 1 where one waits already. */
int ringlet_virtqueue_arm(struct ringlet_virtqueue *queue);
/* Writes an entry of the used ring: `written` bytes of the chain. The driver doesn't see it before
   ringlet_virtqueue_publish, which returns 1 where the driver wants an interrupt. */
void ringlet_virtqueue_push(struct ringlet_virtqueue *queue, uint32_t head, uint32_t written);
int ringlet_virtqueue_publish(struct ringlet_virtqueue *queue);

/* --- disks of the host (disk.c) --------------------------------------------------------- */

/* fallocate(2), of which Python has no modes. */
int ringlet_fallocate(int fd, int mode, uint64_t offset, uint64_t length);

/* --- the host's terminal (terminal.c) --------------------------------------------------- */

/* Remembers the mode of the terminal `fd` and restores it if the process dies of a fault. */
int ringlet_terminal_guard(int fd);
void ringlet_terminal_unguard(void);

/* --- traced processes (ptrace.c) -------------------------------------------------------- */

enum ringlet_stop_kind {
	RINGLET_STOP_BEGIN,  /* a new thread, or the one that was seized */
	RINGLET_STOP_ENTRY,  /* a system call begins: `architecture`, `number`, `arguments` */
	RINGLET_STOP_RESULT, /* and is over: `result`, `is_error` */
	RINGLET_STOP_SIGNAL, /* `signal` comes when the thread is resumed with it */
	RINGLET_STOP_GROUP,  /* `signal` has stopped the whole process */
	RINGLET_STOP_CHILD,  /* `other` is the new thread or process */
	RINGLET_STOP_EXEC,   /* a new program; before, the thread was `other` */
	RINGLET_STOP_END     /* of `signal`, or with the status `result` */
};

struct ringlet_stop {
	int thread; /* as this process sees its id */
	int kind;
	int signal;
	int is_error;
	uint64_t time; /* CLOCK_MONOTONIC, nanoseconds */
	uint64_t other;
	uint64_t number;
	uint64_t arguments[6];
	int64_t result;
	uint32_t architecture; /* AUDIT_ARCH_* */
};

/* Traces a process and all that it makes: from its next system call on. With `kill_at_end`, they are
   killed when the calling thread ends; else a thread that is stopped then may get a wrong signal, so
   all have to be detached before. */
int ringlet_trace_seize(int process, int kill_at_end);
/* Returns the stops that there are, at most `count`; with `block`, waits for one. -ECHILD where
   nothing is traced any more. The exit status of the process `kept` stays for its parent. */
int ringlet_trace_wait(int kept, int block, struct ringlet_stop *stops, int count);
enum ringlet_resume {
	RINGLET_RESUME_TO_CALL, /* up to its next system call, or the end of this one */
	RINGLET_RESUME_LISTEN,	/* after RINGLET_STOP_GROUP: it stays stopped, until SIGCONT */
	RINGLET_RESUME_DETACH	/* it isn't traced any more */
};

/* Lets a stopped thread go on, with `signal` or 0. */
int ringlet_trace_resume(int thread, int how, int signal);
/* Stops a thread: RINGLET_STOP_BEGIN, unless something else stops it before. */
int ringlet_trace_interrupt(int thread);
/* Reads at most 64 KiB of a process's memory. Returns how much could be read from `address` on. */
int ringlet_trace_read(int thread, uint64_t address, void *buffer, size_t size);

#endif
