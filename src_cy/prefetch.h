/* Software prefetch: memory that is needed soon is asked for a little at a time while something else is computed. */
#ifndef NORMENGINE_PREFETCH_H
#define NORMENGINE_PREFETCH_H

#include <stdint.h>

/* Floats of a cache line. */
#define PREFETCH_LINE 16
#define PREFETCH_PARTS 4
/* The multiply-adds of vectors for which a rate tells how many lines to prefetch. */
#define PREFETCH_RATE ((int64_t)1 << 20)

/* `runs` runs of `lines` lines, `apart` floats from the start of one to the next. */
typedef struct {
    const float *at;
    int64_t apart, runs, lines;
} prefetch_part;

/* The parts from `now` on are still to be prefetched, but for the first `line` lines of the first one's run: `rate` lines
 * for PREFETCH_RATE multiply-adds. */
typedef struct {
    prefetch_part part[PREFETCH_PARTS];
    int64_t now, count, line, rate, credit;
} prefetcher;

static inline void prefetch_add(prefetcher *s, const float *at, int64_t apart, int64_t runs, int64_t lines)
{
    if (runs > 0 && lines > 0 && s->count < PREFETCH_PARTS) s->part[s->count++] = (prefetch_part){at, apart, runs, lines};
}

/* Spreads what there is to prefetch over so many multiply-adds of vectors. */
static inline void prefetch_spread(prefetcher *s, int64_t products)
{
    int64_t lines = 0;
    for (int64_t i = s->now; i < s->count; i++) lines += s->part[i].runs * s->part[i].lines;
    s->rate = (PREFETCH_RATE * lines + products - 1) / products;
}

/* Asks for the next lines, `products` multiply-adds of vectors after the last time; s may be NULL. */
static inline __attribute__((always_inline)) void prefetch_step(prefetcher *s, int64_t products)
{
    if (!s || s->now == s->count) return;
    s->credit += products * s->rate;
    int64_t left = s->credit / PREFETCH_RATE;
    s->credit %= PREFETCH_RATE;
    while (left > 0 && s->now < s->count) {
        prefetch_part *p = &s->part[s->now];
        const int64_t rest = p->lines - s->line, many = left < rest ? left : rest;
        const float *at = p->at + s->line * PREFETCH_LINE;
        for (int64_t i = 0; i < many; i++) __builtin_prefetch(at + i * PREFETCH_LINE, 0, 2);
        left -= many;
        s->line += many;
        if (many < rest) continue;
        s->line = 0;
        p->at += p->apart;
        s->now += --p->runs == 0;
    }
}

#endif
