/* Answers an eventfd by another: ringer KICK CALL. It ends with an error. */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    uint64_t count, one = 1;
    if (argc != 3)
        return 1;
    int kick = atoi(argv[1]), call = atoi(argv[2]);
    while (read(kick, &count, sizeof count) == sizeof count)
        if (write(call, &one, sizeof one) != sizeof one)
            return 1;
    return 1;
}
