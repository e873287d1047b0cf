/* redis_bare: the least that a command can take: a blocking connection of hiredis, one command at a time.
 *
 *   redis_bare SOCKET SECONDS POPULATION WORD...
 *
 * In a word, "__rand__" becomes a number of seven digits below POPULATION. Prints the median, the 90th percentile and
 * the mean of the round trips in microseconds as JSON. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WORDS = 64, WORD = 256, MOST = 1 << 20 };

static double now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(char out[WORD], const char *word, long number)
{
    const char *mark = strstr(word, "__rand__");
    if (mark == NULL)
        snprintf(out, WORD, "%s", word);
    else
        snprintf(out, WORD, "%.*s%07ld%s", (int)(mark - word), word, number, mark + strlen("__rand__"));
}

int main(int argc, char **argv)
{
    static char words[WORDS][WORD];
    const char *pointers[WORDS];
    int n = argc - 4;
    long count = 0, population = argc > 3 ? atol(argv[3]) : 0;
    double seconds = argc > 2 ? atof(argv[2]) : 0;
    if (n < 1 || n > WORDS || seconds <= 0 || population < 1) {
        fprintf(stderr, "usage: redis_bare SOCKET SECONDS POPULATION WORD...\n");
        return 2;
    }
    redisContext *redis = redisConnectUnix(argv[1]);
    double *took = calloc(MOST, sizeof *took), sum = 0;
    if (redis == NULL || redis->err != 0 || took == NULL)
        return 1;
    for (double end = now_us() + seconds * 1e6; count < MOST && now_us() < end; count++) {
        for (int w = 0; w < n; w++) {
            fill(words[w], argv[4 + w], (count * 7919) % population);
            pointers[w] = words[w];
        }
        double start = now_us();
        redisReply *reply = redisCommandArgv(redis, n, pointers, NULL);
        took[count] = now_us() - start;
        sum += took[count];
        if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
            fprintf(stderr, "redis_bare: %s\n", reply != NULL ? reply->str : redis->errstr);
            return 1;
        }
        freeReplyObject(reply);
    }
    qsort(took, (size_t)count, sizeof *took, by_size);
    printf("{\"p50\": %.2f, \"p90\": %.2f, \"mean\": %.2f}\n", took[count / 2], took[count / 10 * 9],
           sum / (double)count);
    free(took);
    redisFree(redis);
    return 0;
}
