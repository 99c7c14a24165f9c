/* A busy neighbour: for each line "SECONDS" of standard input it counts for that time and prints
 * {"work": STEPS IN A SECOND}. */
#include <stdio.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(void)
{
    double seconds;
    while (scanf("%lf", &seconds) == 1) {
        double start = now(), took;
        double steps = 0;
        do {
            for (volatile int step = 0; step < 1000; step++)
                ;
            steps++;
            took = now() - start;
        } while (took < seconds);
        printf("{\"work\": %.1f}\n", steps / took);
        fflush(stdout);
    }
    return 0;
}
