/*
 * caller.c: a program to trace. Its first argument says what it does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static void *many_calls(void *count)
{
	for (long i = 0; i < (long)count; i++)
		syscall(SYS_getppid);
	return NULL;
}

static int threads(void)
{
	pthread_t made[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&made[i], NULL, many_calls, (void *)50);
	for (int i = 0; i < 4; i++)
		pthread_join(made[i], NULL);
	return 0;
}

/* Two threads without an end, and a third that makes few calls: it must have its turn. */
static int starving(void)
{
	pthread_t made[2], last;

	for (int i = 0; i < 2; i++)
		pthread_create(&made[i], NULL, many_calls, (void *)1000000000);
	pthread_create(&last, NULL, many_calls, (void *)50);
	pthread_join(last, NULL);
	_exit(0);
}

static int vforks(void)
{
	pid_t child = vfork();

	if (!child) {
		syscall(SYS_getpgid, 0);
		_exit(5);
	}
	int status;

	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static int old_calls(void)
{
	long result;

	/* getpid of 32-bit x86, then a number that it doesn't have. */
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(4000) : "memory", "r8", "r9", "r10", "r11");
	syscall(0x40000000 | SYS_getpid); /* of x32 */
	syscall(100000);
	return 0;
}

static int hostile(void)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = pages + PAGE;
	static char huge[1 << 20];
	char **list = (char **)(end - 16);

	munmap(end, PAGE);
	memset(huge, 'x', sizeof(huge) - 1);
	memcpy(end - 4, "abcd", 4);
	open((char *)1, O_RDONLY);
	open((char *)0xffff800000000000, O_RDONLY);
	open(end - 4, O_RDONLY); /* it has no end */
	open(huge, O_RDONLY);
	open("\033[2J\033]0;title\007\xe2\x80\xae\n\"\\", O_RDONLY);
	write(1, (char *)1, 8);
	syscall(SYS_write, -1, huge, -1L);
	syscall(SYS_read, -1, (char *)-1L, -1L);
	list[0] = list[1] = (char *)list; /* a list that has no end, of strings that have none */
	execve("/absent", list, list);
	execve("/absent", (char **)1, (char **)-8L);
	syscall(SYS_connect, -1, end - 2, -1);
	syscall(SYS_connect, -1, end - 1, 0x7fffffff);
	syscall(SYS_writev, -1, end - 16, 0x7fffffff);
	syscall(SYS_writev, -1, -16L, -1L);
	syscall(SYS_clone3, 1, -1L);
	syscall(SYS_nanosleep, 1, 1);
	syscall(SYS_wait4, -1, 1, 0, 0);
	syscall(SYS_fcntl, -1, -1L, -1L);
	syscall(SYS_open, "\x80\xff", -1L, -1L);
	return 0;
}

static void *exec_again(void *unused)
{
	usleep(100000); /* until the first thread pauses */
	execl("/proc/self/exe", "caller", "nothing", NULL);
	return unused;
}

/* A thread that isn't the first starts a program, while the first is in a call. */
static int thread_exec(void)
{
	pthread_t made;

	pthread_create(&made, NULL, exec_again, NULL);
	for (;;)
		pause();
}

static void *kill_all(void *unused)
{
	usleep(10000);
	kill(getpid(), SIGKILL);
	return unused;
}

/* The child dies while one of its threads is in a call. */
static int dies(void)
{
	int status, ends[2];
	pid_t child = fork();

	if (!child) {
		pthread_t made;
		char byte;

		pipe(ends);
		pthread_create(&made, NULL, kill_all, NULL);
		read(ends[0], &byte, 1);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static int in_child(void *unused)
{
	syscall(SYS_getpgid, 0);
	return 0;
}

static int hides(void)
{
	static char stack[1 << 16];
	int status;

	/* No such flag is known to glibc's clone(), which passes it on. */
	pid_t child = clone(in_child, stack + sizeof(stack), CLONE_UNTRACED | SIGCHLD, NULL);

	waitpid(child, &status, 0);
	return status;
}

/* A child stops itself; its parent sees that and lets it go on. */
static int stops(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		raise(SIGSTOP);
		_exit(7);
	}
	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		return 1;
	usleep(10000);
	if (waitpid(child, &status, WNOHANG | WUNTRACED) != 0)
		return 2; /* it went on by itself */
	kill(child, SIGCONT);
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static volatile sig_atomic_t seen;

static void on_signal(int number)
{
	seen += number;
}

static int signals(void)
{
	struct sigaction action = { .sa_handler = on_signal }; /* calls aren't restarted */
	struct timespec second = { 1, 0 };
	pid_t child, self = getpid();

	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	child = fork();
	if (!child) {
		usleep(20000);
		kill(self, SIGUSR1);
		_exit(0);
	}
	if (nanosleep(&second, NULL) == 0 || errno != EINTR)
		return 1;
	waitpid(child, NULL, 0);
	return seen;
}

/* What a process sees of its tracer. */
static int looks(void)
{
	char line[256];
	FILE *file = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "TracerPid:", 10))
			fputs(line, stdout);
	fclose(file);
	printf("TRACEME: %s\n", ptrace(PTRACE_TRACEME, 0, 0, 0) ? strerror(errno) : "yes");
	printf("ATTACH: %s\n", ptrace(PTRACE_SEIZE, getppid(), 0, 0) ? strerror(errno) : "yes");
	return 0;
}

/* A filter of its own: one call fails, another kills. */
static int filters(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE), /* no tracer lets it through */
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	syscall(SYS_getppid);
	syscall(SYS_getsid, 0);
	syscall(SYS_getpgid, 0);
	return 0;
}

static int denied(void)
{
	/* What the container's filter or its rights refuse. */
	printf("keyctl %d\n", syscall(SYS_keyctl, 0, 0, 0, 0, 0) < 0 ? errno : 0);
	printf("mount %d\n", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0) < 0 ? errno : 0);
	printf("bpf %d\n", syscall(SYS_bpf, 0, 0, 0) < 0 ? errno : 0);
	return 0;
}

static int forks(void)
{
	int made = 0;

	for (int i = 0; i < 200; i++) {
		pid_t child = fork();

		if (!child) {
			syscall(SYS_getppid);
			for (;;)
				pause();
		}
		made += child > 0;
	}
	printf("%d\n", made);
	return 0; /* the others are killed with process 1 */
}

/* Process ids are used again, fast. */
static int again(void)
{
	for (int i = 0; i < 300; i++) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
	return 0;
}

static int sockets(void)
{
	struct sockaddr_un name = { AF_UNIX, "/tmp/none" };
	int pair[2], fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct iovec parts[] = { { "one", 3 }, { "two\n", 4 } };

	connect(fd, (struct sockaddr *)&name, sizeof(name));
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	writev(pair[0], parts, 2);
	char text[16];

	recvfrom(pair[1], text, sizeof(text), MSG_DONTWAIT, NULL, NULL);
	kill(getpid(), 0);
	open("/tmp/new", O_CREAT | O_WRONLY | O_TRUNC, 0640);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return 0;
}

static int nothing(void)
{
	return 3;
}

/* Calls without an end. */
static int busy(void)
{
	for (;;)
		syscall(SYS_getppid);
}

static const struct {
	const char *name;
	int (*act)(void);
} acts[] = {
	{ "again", again },	{ "busy", busy },	  { "denied", denied },
	{ "dies", dies },	{ "filters", filters },	  { "forks", forks },
	{ "hides", hides },	{ "hostile", hostile },	  { "looks", looks },
	{ "nothing", nothing }, { "old", old_calls },	  { "signals", signals },
	{ "sockets", sockets }, { "starving", starving }, { "stops", stops },
	{ "thread-exec", thread_exec }, { "threads", threads }, { "vfork", vforks },
};

int main(int count, char **words)
{
	for (size_t i = 0; count > 1 && i < sizeof(acts) / sizeof(acts[0]); i++)
		if (!strcmp(acts[i].name, words[1]))
			return acts[i].act();
	return 99;
}
