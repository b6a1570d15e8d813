/*
 * kick.c: gets a vCPU out of the guest.
 *
 * KVM_RUN returns when a signal is delivered to its thread. One that is delivered just before
 * the ioctl would be missed, so the handler sets kvm_run.immediate_exit, with which KVM_RUN
 * returns at once. The signal is a real-time one whose action was the default when ringlet came
 * to it: a program's own handlers are left alone.
 *
 * Source: Linux, Documentation/virt/kvm/api.rst, 5 (immediate_exit); sigevent(3type).
 */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#ifndef sigev_notify_thread_id /* glibc names it from 2.38 on */
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* In a handler, only thread-local storage that exists from the start is safe. */
#define HANDLER_SAFE __attribute__((tls_model("initial-exec")))

static __thread struct kvm_run *volatile current_run HANDLER_SAFE;
static __thread int thread_id HANDLER_SAFE;

static pthread_mutex_t signal_lock = PTHREAD_MUTEX_INITIALIZER;
static int kick_signal;

static void on_kick(int number)
{
	struct kvm_run *run = current_run;

	(void)number;
	if (run)
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

/* A forked child's thread has another id than its parent's. */
static void in_child(void)
{
	thread_id = 0;
}

static int reserve_signal(void)
{
	struct sigaction old, mine = { .sa_handler = on_kick, .sa_flags = SA_RESTART };

	sigfillset(&mine.sa_mask);
	for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
		if (sigaction(number, NULL, &old) < 0 || (old.sa_flags & SA_SIGINFO) ||
		    old.sa_handler != SIG_DFL)
			continue;
		if (sigaction(number, &mine, NULL) < 0)
			return -errno;
		pthread_atfork(NULL, NULL, in_child);
		return number;
	}
	return -EBUSY;
}

int ringlet_kick_signal(void)
{
	int number;

	pthread_mutex_lock(&signal_lock);
	if (kick_signal <= 0)
		kick_signal = reserve_signal();
	number = kick_signal;
	pthread_mutex_unlock(&signal_lock);
	return number;
}

/* The thread's id; the first time, also lets the signal through to it. */
static int this_thread(void)
{
	if (!thread_id) {
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, kick_signal);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
		thread_id = gettid();
	}
	return thread_id;
}

void ringlet_kick_enter(struct ringlet_vcpu *vcpu)
{
	/* Before KVM_RUN looks at immediate_exit: who sets that, then sees the thread. */
	__atomic_store_n(&vcpu->thread, this_thread(), __ATOMIC_SEQ_CST);
	current_run = vcpu->run;
}

void ringlet_kick_leave(void)
{
	current_run = NULL;
}

int ringlet_vcpu_kick(struct ringlet_vcpu *vcpu)
{
	int thread;

	/* Set already: whoever set it sends the signal. A second one would queue, up to a limit. */
	if (__atomic_exchange_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST))
		return 0;
	thread = __atomic_load_n(&vcpu->thread, __ATOMIC_SEQ_CST);
	/* A thread that has ended runs nothing. */
	if (thread && syscall(SYS_tgkill, getpid(), thread, kick_signal) < 0 && errno != ESRCH)
		return -errno;
	return 0;
}

int ringlet_vcpu_tick(struct ringlet_vcpu *vcpu, uint64_t interval)
{
	struct timespec time = { (time_t)(interval / 1000000000), (long)(interval % 1000000000) };
	struct itimerspec every = { .it_interval = time, .it_value = time };
	struct sigevent event;

	if (vcpu->has_timer) {
		timer_delete(vcpu->timer);
		vcpu->has_timer = 0;
	}
	if (!interval)
		return 0;
	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = kick_signal;
	event.sigev_notify_thread_id = this_thread();
	if (timer_create(CLOCK_MONOTONIC, &event, (timer_t *)&vcpu->timer) < 0)
		return -errno;
	vcpu->has_timer = 1;
	return timer_settime(vcpu->timer, 0, &every, NULL) < 0 ? -errno : 0;
}
