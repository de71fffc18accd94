/* Memory that is needed soon, asked for a little at a time while something else is computed. */
#ifndef NORMENGINE_SOON_H
#define NORMENGINE_SOON_H

#include <stdint.h>

#define SOON_LINE 16

/* `runs` runs of `lines` cache lines (of 16 floats), `apart` floats from the start of one to the next; `line` lines of the
 * first one have been asked for. `each` lines go together. */
typedef struct {
    const float *at;
    int64_t apart, runs, lines, line, each;
} soon;

static inline __attribute__((always_inline)) void soon_ask(soon *s)
{
    for (int64_t left = s->each; left > 0 && s->runs > 0;) {
        const int64_t rest = s->lines - s->line, now = left < rest ? left : rest;
        const float *at = s->at + s->line * SOON_LINE;
        for (int64_t i = 0; i < now; i++) __builtin_prefetch(at + i * SOON_LINE, 0, 2);
        left -= now;
        s->line += now;
        if (now < rest) continue;
        s->line = 0;
        s->at += s->apart;
        s->runs--;
    }
}

#endif
