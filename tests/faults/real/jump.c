/* A clock that jumps: for whatever this is preloaded into, the date moves by EFFBENCH_TEST_JUMP_S seconds as soon as
   the file EFFBENCH_TEST_JUMP_WHEN holds something, as if somebody had set it. Other clocks are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void find(void)
{
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    const char *by = getenv("EFFBENCH_TEST_JUMP_S"), *when = getenv("EFFBENCH_TEST_JUMP_WHEN");
    struct stat file;
    int status;

    if (!real)
        find();
    status = real(which, now);
    if (status || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE) || !by || !when)
        return status;
    if (!stat(when, &file) && file.st_size > 0)
        now->tv_sec += atol(by);
    return status;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec found;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &found))
        return -1;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec found;

    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
