/*
 * ptrace.c: the stops of traced processes.
 *
 * The kernel ties a traced thread to the one thread that traces it: all of these functions are for that
 * thread. A stopped thread goes on when ringlet_trace_resume says so, or when it is killed: then each
 * request for it fails with ESRCH, and its end is the next that is heard of it.
 *
 * Source: ptrace(2), waitid(2), process_vm_readv(2); Linux, include/uapi/linux/ptrace.h.
 */
#define _GNU_SOURCE
#include <linux/ptrace.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define SYSCALL_STOP (SIGTRAP | 0x80) /* as PTRACE_O_TRACESYSGOOD marks it */
#define PAGE 4096

/* glibc's ptrace() is variadic, and <sys/ptrace.h> doesn't go with <linux/ptrace.h>. */
static long request(long what, int thread, unsigned long address, const void *data)
{
	long result = syscall(SYS_ptrace, what, thread, address, data);

	return result < 0 ? -errno : result;
}

int ringlet_trace_seize(int process, int kill_at_end)
{
	unsigned long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE |
				PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
				(kill_at_end ? PTRACE_O_EXITKILL : 0);
	long result = request(PTRACE_SEIZE, process, 0, (void *)options);

	return result < 0 ? result : ringlet_trace_interrupt(process);
}

static int look_at_call(struct ringlet_stop *stop)
{
	struct ptrace_syscall_info info;
	long size = request(PTRACE_GET_SYSCALL_INFO, stop->thread, sizeof(info), &info);

	if (size < 0)
		return size;
	stop->architecture = info.arch;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		stop->kind = RINGLET_STOP_ENTRY;
		stop->number = info.entry.nr;
		memcpy(stop->arguments, info.entry.args, sizeof(stop->arguments));
	} else {
		stop->kind = RINGLET_STOP_RESULT;
		stop->result = info.exit.rval;
		stop->is_error = info.exit.is_error;
	}
	return 0;
}

/* What a stop is, by its status: a signal, and in the next byte an event. */
static int look_at_stop(struct ringlet_stop *stop, int status)
{
	unsigned long message = 0;
	long result = 0;

	stop->signal = status & 0xff;
	if (status == SYSCALL_STOP)
		return look_at_call(stop);
	switch (status >> 8) {
	case 0:
		stop->kind = RINGLET_STOP_SIGNAL;
		break;
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		stop->kind = RINGLET_STOP_CHILD;
		result = request(PTRACE_GETEVENTMSG, stop->thread, 0, &message);
		break;
	case PTRACE_EVENT_EXEC:
		stop->kind = RINGLET_STOP_EXEC;
		result = request(PTRACE_GETEVENTMSG, stop->thread, 0, &message);
		break;
	default: /* PTRACE_EVENT_STOP */
		stop->kind = stop->signal == SIGTRAP ? RINGLET_STOP_BEGIN : RINGLET_STOP_GROUP;
	}
	stop->other = message;
	return result;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int ringlet_trace_wait(int kept, int block, struct ringlet_stop *stops, int count)
{
	int found = 0;

	/* All that have stopped are taken before one goes on: else a busy thread would come first for
	   ever, since the kernel looks through them in the same order each time. */
	while (found < count) {
		int flags = WEXITED | WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD;
		struct ringlet_stop *stop = &stops[found];
		siginfo_t info = { .si_pid = 0 };

		if (waitid(P_ALL, 0, &info, flags | (found || !block ? WNOHANG : 0)) < 0) {
			if (errno == EINTR)
				continue;
			return found ? found : -errno;
		}
		if (!info.si_pid)
			break;
		memset(stop, 0, sizeof(*stop));
		stop->thread = info.si_pid;
		stop->time = now();
		if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
			siginfo_t taken;
			int result;

			waitid(P_PID, info.si_pid, &taken, WSTOPPED | WNOHANG | __WALL | __WNOTHREAD);
			result = look_at_stop(stop, info.si_status);
			if (!result)
				found++;
			else if (result != -ESRCH) /* of which it has just been killed */
				return result;
			continue;
		}
		stop->kind = RINGLET_STOP_END;
		stop->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
		stop->result = info.si_status;
		found++;
		if (info.si_pid == kept)
			break;
		waitid(P_PID, info.si_pid, &info, WEXITED | WNOHANG | __WALL | __WNOTHREAD);
	}
	return found;
}

int ringlet_trace_resume(int thread, int how, int signal)
{
	static const long requests[] = { PTRACE_SYSCALL, PTRACE_LISTEN, PTRACE_DETACH };

	return request(requests[how], thread, 0, (void *)(long)signal);
}

int ringlet_trace_interrupt(int thread)
{
	return request(PTRACE_INTERRUPT, thread, 0, NULL);
}

int ringlet_trace_read(int thread, uint64_t address, void *buffer, size_t size)
{
	/* In pages: of a range that is partly unmapped, the kernel promises whole elements alone. */
	struct iovec pages[17], ours = { .iov_base = buffer, .iov_len = size };
	size_t count = 0, left = size;
	ssize_t result;

	while (left && count < sizeof(pages) / sizeof(pages[0])) {
		size_t part = PAGE - address % PAGE;

		part = part < left ? part : left;
		pages[count++] = (struct iovec){ .iov_base = (void *)address, .iov_len = part };
		address += part;
		left -= part;
	}
	result = process_vm_readv(thread, &ours, 1, pages, count, 0);
	return result < 0 ? -errno : result;
}
