/* Copies between two buffers, piece by piece from the first byte to the last, again and again.
 *
 * Argument: bytes of each buffer. For each line "PIECE SECONDS" of standard input it copies for that
 * time and prints {"bytes_per_s": RATE}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    size_t size = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    char *from = malloc(size), *to = malloc(size);
    size_t piece;
    double seconds;
    if (size == 0 || from == NULL || to == NULL)
        return 1;
    memset(from, 0xA5, size);
    memset(to, 0x5A, size);
    while (scanf("%zu %lf", &piece, &seconds) == 2) {
        if (piece == 0 || piece > size)
            return 1;
        double start = now(), took;
        size_t at = 0, copied = 0;
        do {
            memcpy(to + at, from + at, piece);
            __asm__ volatile("" : : "r"(to) : "memory"); /* the copy is not left out */
            copied += piece;
            at = at + 2 * piece <= size ? at + piece : 0;
            took = now() - start;
        } while (took < seconds);
        printf("{\"bytes_per_s\": %.0f}\n", (double)copied / took);
        fflush(stdout);
    }
    return 0;
}
