/* Round trips over an inherited SOCK_SEQPACKET descriptor, as a CPU makes them: one read of a register,
 * a blocking send and a blocking receive. Both ways of register_channel.py have this end.
 *
 * Usage: register_channel drive FD COUNT   one line for each line on standard input: mean nanoseconds
 *        register_channel echo FD          the bare peer: answers every request at once
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { REQUEST = 24, ANSWER = 32 };

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int echo(int descriptor)
{
    char packet[64] = {0};
    while (recv(descriptor, packet, sizeof packet, 0) == REQUEST)
        if (send(descriptor, packet, ANSWER, MSG_NOSIGNAL) != ANSWER)
            return 1;
    return 0;
}

static int drive(int descriptor, long count)
{
    /* tag 1, 1 access: 4 bytes at 0x000, MagicValue */
    unsigned char request[REQUEST] = {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4}, answer[64];
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        uint64_t begin = now();
        for (long i = 0; i < count; i++) {
            if (send(descriptor, request, REQUEST, MSG_NOSIGNAL) != REQUEST)
                return 1;
            if (recv(descriptor, answer, sizeof answer, 0) != ANSWER)
                return 1;
        }
        printf("%.1f\n", (double)(now() - begin) / count);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "echo"))
        return echo(atoi(argv[2]));
    if (argc == 4 && !strcmp(argv[1], "drive"))
        return drive(atoi(argv[2]), atol(argv[3]));
    return 2;
}
