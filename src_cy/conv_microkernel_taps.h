/* The register tile of neighbouring pixels in a row whose taps are neighbours too: an input is loaded once for all the
 * taps of a row that meet it, where conv_microkernel.h loads it once for each. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_CONV_MICROKERNEL_TAPS_H
#define NORMENGINE_CONV_MICROKERNEL_TAPS_H

#include "taps.h"
#include "conv_microkernel.h"

/* The most pixels beside B vectors of weights for each of TAPS_TOGETHER taps; 0 where such tiles load no less than those
 * of conv_microkernel.h. */
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define TAPS_PIXELS(B) ((B) == 1 ? 16 : (B) == 2 ? 12 : (B) == 3 ? 6 : 0)
#elif SIMD_WIDTH == 8
#define TAPS_PIXELS(B) ((B) == 1 ? 12 : 0)
#else
#define TAPS_PIXELS(B) 0
#endif

/* Some channels of `taps` neighbouring taps: pixel p reads input p * step + t, whose channels are at x + (p * step + t) *
 * unit, under tap t, whose weights are [channel][vectors * V] from w + t * tap on. The inputs before `first` and from
 * `end` on are zeros; at either end as many as not all taps reach are left out, but not of images in planes, where to
 * look at each costs more. */
INLINE void taps_sum(const int taps, const int unit, const int step, const int pixels, const int vectors, int64_t channels,
                     const float *x, const float *w, int64_t tap, int64_t first, int64_t end, vec sum[][TILE_VECTORS])
{
    const int inputs = (pixels - 1) * step + taps;
    for (const float *const x_end = x + channels; x < x_end; x++, w += vectors * SIMD_WIDTH) {
        vec held[TAPS_TOGETHER][TILE_VECTORS];
        UNROLL for (int t = 0; t < taps; t++)
            UNROLL for (int b = 0; b < vectors; b++) held[t][b] = load(w + t * tap + b * SIMD_WIDTH);
        _Pragma("GCC unroll 64") for (int i = 0; i < inputs; i++) {
            if (unit > 1 && ((i < taps - 1 && i < first) || (i > inputs - taps && i >= end))) continue;
            const vec left = splat(x[i * unit]);
            UNROLL for (int t = 0; t < taps; t++) {
                const int p = (i - t) / step;
                if (i >= t && (i - t) % step == 0 && p < pixels)
                    UNROLL for (int b = 0; b < vectors; b++) {
                        sum[p][b] += held[t][b] * left;
                        TILE_ORDER(sum[p][b], held[t][b], left);
                    }
            }
        }
    }
}

/* The same for every tap of a row. */
INLINE void taps_row(const int unit, const int step, const int pixels, const int vectors, int64_t taps, int64_t channels,
                     const float *x, const float *w, int64_t first, int64_t end, vec sum[][TILE_VECTORS])
{
    const int64_t tap = channels * vectors * SIMD_WIDTH;
    for (int64_t left = taps, now; left > 0; left -= now) {
        now = taps_next(left);
        if (now == TAPS_TOGETHER) taps_sum(TAPS_TOGETHER, unit, step, pixels, vectors, channels, x, w, tap, first, end, sum);
        else taps_sum(TAPS_TOGETHER - 1, unit, step, pixels, vectors, channels, x, w, tap, first, end, sum);
        x += now * unit, w += now * tap;
        first -= now, end -= now;
    }
}

/* As tile_product, of pixels at x + p * step * unit, the taps in rows of depth->across neighbours, two at least; x is the
 * input at `place` in its row. The unit, from an input to the next, is V floats or, of images in planes, one: then every
 * channel is a plane of its own, and depth->taps has the rows of them all. */
INLINE void taps_product(const int unit, const int step, const int pixels, const int vectors, const tile_depth *depth,
                         const float *x, int64_t place, const float *w, float *out, const int64_t *target,
                         int64_t out_block, int accumulate, const tile_finish *finish)
{
    vec sum[TILE_MOST_PIXELS][TILE_VECTORS];
    const int64_t across = depth->across, blocks = unit == 1 ? 1 : depth->blocks + (depth->rest_count > 0);
    const int64_t *const taps_end = depth->taps + depth->tap_count;
    const int64_t first = depth->first - place, end = depth->end - place;
    tile_ask(1, pixels, vectors, depth, out, target, out_block);
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int b = 0; b < vectors; b++) sum[p][b] = splat(0.0f);
    for (int64_t n = blocks; n > 0; n--, x += depth->x_block) {
        const int64_t channels = unit == 1 ? 1 : n == 1 && depth->rest_count ? depth->rest_count / depth->tap_count
                                                                             : SIMD_WIDTH;
        const int64_t a_tap = channels * vectors * SIMD_WIDTH;
        w += depth->before * a_tap;
        if (across == TAPS_TOGETHER)
            for (const int64_t *tap = depth->taps; tap < taps_end; tap += TAPS_TOGETHER, w += TAPS_TOGETHER * a_tap)
                taps_sum(TAPS_TOGETHER, unit, step, pixels, vectors, channels, x + *tap, w, a_tap, first, end, sum);
        else
            for (const int64_t *tap = depth->taps; tap < taps_end; tap += across, w += across * a_tap)
                taps_row(unit, step, pixels, vectors, across, channels, x + *tap, w, first, end, sum);
        w += depth->after * a_tap;
    }
    tile_store(pixels, vectors, sum, out, target, out_block, accumulate, finish);
}

#define TAPS_CASE(UNIT, STEP, P, B)                                                                                   \
    case P:                                                                                                           \
        for (; count > 0; count--, x += P * STEP * UNIT, place += P * STEP, target += P)                              \
            taps_product(UNIT, STEP, P, B, depth, x, place, w, out, target, out_block, accumulate, finish);           \
        break;
#define TAPS_CASES_6(U, S, B)                                                                                         \
    TAPS_CASE(U, S, 1, B) TAPS_CASE(U, S, 2, B) TAPS_CASE(U, S, 3, B) TAPS_CASE(U, S, 4, B) TAPS_CASE(U, S, 5, B)     \
    TAPS_CASE(U, S, 6, B)
#define TAPS_CASES_12(U, S, B)                                                                                        \
    TAPS_CASES_6(U, S, B) TAPS_CASE(U, S, 7, B) TAPS_CASE(U, S, 8, B) TAPS_CASE(U, S, 9, B) TAPS_CASE(U, S, 10, B)    \
    TAPS_CASE(U, S, 11, B) TAPS_CASE(U, S, 12, B)
#define TAPS_CASES_16(U, S, B)                                                                                        \
    TAPS_CASES_12(U, S, B) TAPS_CASE(U, S, 13, B) TAPS_CASE(U, S, 14, B) TAPS_CASE(U, S, 15, B) TAPS_CASE(U, S, 16, B)

#define TAPS_ARGS                                                                                                     \
    int64_t count, int64_t pixels, const tile_depth *depth, const float *x, int64_t place, const float *w,            \
        float *out, const int64_t *target, int64_t out_block, int accumulate, const tile_finish *finish
#define TAPS_OF(B, CASES)                                                                                             \
    static void taps_of_##B(int64_t unit, int64_t step, TAPS_ARGS)                                                    \
    {                                                                                                                 \
        if (unit == 1 && step == 1) switch (pixels) { CASES(1, 1, B) }                                                \
        else if (unit == 1) switch (pixels) { CASES(1, 2, B) }                                                        \
        else if (step == 1) switch (pixels) { CASES(SIMD_WIDTH, 1, B) }                                               \
        else switch (pixels) { CASES(SIMD_WIDTH, 2, B) }                                                              \
    }

#if TAPS_PIXELS(1) == 16
TAPS_OF(1, TAPS_CASES_16)
TAPS_OF(2, TAPS_CASES_12)
TAPS_OF(3, TAPS_CASES_6)
#elif TAPS_PIXELS(1) == 12
TAPS_OF(1, TAPS_CASES_12)
#endif

/* `count` tiles of so many pixels and vectors, one after the other in a row. */
INLINE void taps_repeat(int64_t unit, int64_t step, int64_t vectors, TAPS_ARGS)
{
    switch (vectors) {
#if TAPS_PIXELS(1) > 0
    case 1: taps_of_1(unit, step, count, pixels, depth, x, place, w, out, target, out_block, accumulate, finish); break;
#endif
#if TAPS_PIXELS(2) > 0
    case 2: taps_of_2(unit, step, count, pixels, depth, x, place, w, out, target, out_block, accumulate, finish); break;
    case 3: taps_of_3(unit, step, count, pixels, depth, x, place, w, out, target, out_block, accumulate, finish); break;
#endif
    }
}

/* The fewest tiles, of nearly equal size, that make a row of `width` pixels, `step` (1 or 2) units apart in x. */
static void taps_tiles(int64_t width, int64_t unit, int64_t step, int64_t vectors, const tile_depth *depth,
                       const float *x, const float *w, float *out, const int64_t *target, int64_t out_block,
                       int accumulate, const tile_finish *finish)
{
    const int64_t most = TAPS_PIXELS(vectors) > 0 ? TAPS_PIXELS(vectors) : 1, number = (width + most - 1) / most;
    const int64_t size = width / number, larger = width % number;
    if (larger > 0)
        taps_repeat(unit, step, vectors, larger, size + 1, depth, x, 0, w, out, target, out_block, accumulate, finish);
    const int64_t place = larger * (size + 1) * step;
    target += larger * (size + 1);
    taps_repeat(unit, step, vectors, number - larger, size, depth, x + place * unit, place, w, out, target, out_block,
                accumulate, finish);
}

#endif
