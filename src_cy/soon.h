/* Memory that is needed soon, asked for (prefetched) a little at a time while something else is computed. */
#ifndef NORMENGINE_SOON_H
#define NORMENGINE_SOON_H

#include <stdint.h>

/* Floats of a cache line. */
#define SOON_LINE 16
#define SOON_PARTS 4
/* The multiply-adds of vectors for which a rate tells how many lines to ask for. */
#define SOON_RATE ((int64_t)1 << 20)

/* `runs` runs of `lines` lines, `apart` floats from the start of one to the next. */
typedef struct {
    const float *at;
    int64_t apart, runs, lines;
} soon_part;

/* The parts from `now` on are still to be asked for, but for the first `line` lines of the first one's run: `rate` lines
 * for SOON_RATE multiply-adds. */
typedef struct {
    soon_part part[SOON_PARTS];
    int64_t now, count, line, rate, credit;
} soon;

static inline void soon_add(soon *s, const float *at, int64_t apart, int64_t runs, int64_t lines)
{
    if (runs > 0 && lines > 0 && s->count < SOON_PARTS) s->part[s->count++] = (soon_part){at, apart, runs, lines};
}

/* Spreads what there is to ask for over so many multiply-adds of vectors. */
static inline void soon_spread(soon *s, int64_t products)
{
    int64_t lines = 0;
    for (int64_t i = s->now; i < s->count; i++) lines += s->part[i].runs * s->part[i].lines;
    s->rate = (SOON_RATE * lines + products - 1) / products;
}

/* Asks for the next lines, `products` multiply-adds of vectors after the last time; s may be NULL. */
static inline __attribute__((always_inline)) void soon_ask(soon *s, int64_t products)
{
    if (!s || s->now == s->count) return;
    s->credit += products * s->rate;
    int64_t left = s->credit / SOON_RATE;
    s->credit %= SOON_RATE;
    while (left > 0 && s->now < s->count) {
        soon_part *p = &s->part[s->now];
        const int64_t rest = p->lines - s->line, many = left < rest ? left : rest;
        const float *at = p->at + s->line * SOON_LINE;
        for (int64_t i = 0; i < many; i++) __builtin_prefetch(at + i * SOON_LINE, 0, 2);
        left -= many;
        s->line += many;
        if (many < rest) continue;
        s->line = 0;
        p->at += p->apart;
        s->now += --p->runs == 0;
    }
}

/* What the calls that follow on this thread ask for while they work on something else. */
static __thread soon soon_of_thread;

#endif
