/* Its first thread ends, and another one lives on: /proc/PID/stat says Z of the process. */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *live(void *nothing)
{
	for (;;)
		pause();
	return nothing;
}

int main(void)
{
	pthread_t other;

	pthread_create(&other, NULL, live, NULL);
	syscall(SYS_exit, 0);
}
