/* Bare SEQPACKET ping-pong: 24 bytes there, 32 bytes back, with a child process.
 *
 * For each line on standard input it prints the mean time of one round trip, in ns. Arguments: CPU of
 * this process, CPU of the child, round trips of one measurement. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 24, ANSWER = 32 };

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

int main(int argc, char **argv)
{
    int ends[2];
    char packet[64] = {0};
    if (argc != 4 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0)
        return 1;
    long rounds = atol(argv[3]);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        pin(atoi(argv[2]));
        while (recv(ends[1], packet, sizeof packet, 0) > 0)
            send(ends[1], packet, ANSWER, MSG_NOSIGNAL);
        return 0;
    }
    close(ends[1]);
    pin(atoi(argv[1]));
    while (getchar() == '\n') {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (long i = 0; i < rounds; i++)
            if (send(ends[0], packet, REQUEST, MSG_NOSIGNAL) < 0 ||
                recv(ends[0], packet, sizeof packet, 0) != ANSWER)
                return 1;
        clock_gettime(CLOCK_MONOTONIC, &end);
        double ns = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec);
        printf("%.1f\n", ns / (double)rounds);
        fflush(stdout);
    }
    return 0;
}
