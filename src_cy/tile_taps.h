/* The register tile of neighbouring pixels in a row whose taps are neighbours too: an input is loaded once for all the
 * taps of a row that meet it, where tile.h loads it once for each. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_TILE_TAPS_H
#define NORMENGINE_TILE_TAPS_H

#include "tile.h"

/* The most taps whose weights are in registers, and the most pixels beside B vectors of each; 0 where such tiles load
 * no less than those of tile.h. */
#define TAPS_HELD 3
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define TAPS_PIXELS(B) ((B) == 1 ? 16 : (B) == 2 ? 12 : (B) == 3 ? 6 : 0)
#elif SIMD_WIDTH == 8
#define TAPS_PIXELS(B) ((B) == 1 ? 12 : 0)
#else
#define TAPS_PIXELS(B) 0
#endif

/* Some channels of `taps` neighbouring taps: pixel p reads the V channels at x + (p * step + t) * V under tap t, whose
 * weights are [channel][vectors * V] from w + t * tap on. */
INLINE void taps_sum(const int taps, const int step, const int pixels, const int vectors, int64_t channels,
                     const float *x, const float *w, int64_t tap, vec sum[][TILE_VECTORS])
{
    for (const float *const end = x + channels; x < end; x++, w += vectors * SIMD_WIDTH) {
        vec held[TAPS_HELD][TILE_VECTORS];
        UNROLL for (int t = 0; t < taps; t++)
            UNROLL for (int b = 0; b < vectors; b++) held[t][b] = load(w + t * tap + b * SIMD_WIDTH);
        _Pragma("GCC unroll 64") for (int i = 0; i < (pixels - 1) * step + taps; i++) {
            const vec left = splat(x[i * SIMD_WIDTH]);
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

/* The same for every tap of a row, by twos and threes. */
INLINE void taps_row(const int step, const int pixels, const int vectors, int64_t taps, int64_t channels, const float *x,
                     const float *w, vec sum[][TILE_VECTORS])
{
    const int64_t tap = channels * vectors * SIMD_WIDTH;
    for (int64_t left = taps, now; left > 0; left -= now, x += now * SIMD_WIDTH, w += now * tap) {
        now = left % 3 == 0 ? 3 : 2;
        if (now == 3) taps_sum(3, step, pixels, vectors, channels, x, w, tap, sum);
        else taps_sum(2, step, pixels, vectors, channels, x, w, tap, sum);
    }
}

/* As tile_product, of pixels at x + p * step * V, the taps in rows of depth->across neighbours, two at least. */
INLINE void taps_product(const int step, const int pixels, const int vectors, const tile_depth *depth, const float *x,
                         const float *w, float *out, const int64_t *target, int64_t out_block, int accumulate,
                         const tile_finish *finish)
{
    vec sum[TILE_MOST_PIXELS][TILE_VECTORS];
    const int64_t across = depth->across, rest = depth->rest_count / depth->tap_count;
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int b = 0; b < vectors; b++) sum[p][b] = splat(0.0f);
    for (int64_t n = depth->blocks + (rest > 0); n > 0; n--, x += depth->x_block) {
        const int64_t channels = n == 1 && rest > 0 ? rest : SIMD_WIDTH;
        for (int64_t tap = 0; tap < depth->tap_count; tap += across) {
            taps_row(step, pixels, vectors, across, channels, x + depth->taps[tap], w, sum);
            w += across * channels * vectors * SIMD_WIDTH;
        }
    }
    tile_store(pixels, vectors, sum, out, target, out_block, accumulate, finish);
}

#define TAPS_CASE(STEP, P, B)                                                                                         \
    case P:                                                                                                           \
        for (; count > 0; count--, x += P * STEP * SIMD_WIDTH, target += P)                                           \
            taps_product(STEP, P, B, depth, x, w, out, target, out_block, accumulate, finish);                        \
        break;
#define TAPS_CASES_6(STEP, B)                                                                                         \
    TAPS_CASE(STEP, 1, B) TAPS_CASE(STEP, 2, B) TAPS_CASE(STEP, 3, B) TAPS_CASE(STEP, 4, B) TAPS_CASE(STEP, 5, B)     \
    TAPS_CASE(STEP, 6, B)
#define TAPS_CASES_12(STEP, B)                                                                                        \
    TAPS_CASES_6(STEP, B) TAPS_CASE(STEP, 7, B) TAPS_CASE(STEP, 8, B) TAPS_CASE(STEP, 9, B) TAPS_CASE(STEP, 10, B)    \
    TAPS_CASE(STEP, 11, B) TAPS_CASE(STEP, 12, B)
#define TAPS_CASES_16(STEP, B)                                                                                        \
    TAPS_CASES_12(STEP, B) TAPS_CASE(STEP, 13, B) TAPS_CASE(STEP, 14, B) TAPS_CASE(STEP, 15, B) TAPS_CASE(STEP, 16, B)

#define TAPS_ARGS                                                                                                     \
    int64_t count, int64_t pixels, const tile_depth *depth, const float *x, const float *w, float *out,              \
        const int64_t *target, int64_t out_block, int accumulate, const tile_finish *finish
#define TAPS_OF(STEP, B, CASES)                                                                                       \
    static void taps_of_##STEP##_##B(TAPS_ARGS) { switch (pixels) { CASES(STEP, B) } }

#if TAPS_PIXELS(1) == 16
TAPS_OF(1, 1, TAPS_CASES_16)
TAPS_OF(2, 1, TAPS_CASES_16)
TAPS_OF(1, 2, TAPS_CASES_12)
TAPS_OF(2, 2, TAPS_CASES_12)
TAPS_OF(1, 3, TAPS_CASES_6)
TAPS_OF(2, 3, TAPS_CASES_6)
#elif TAPS_PIXELS(1) == 12
TAPS_OF(1, 1, TAPS_CASES_12)
TAPS_OF(2, 1, TAPS_CASES_12)
#endif

/* `count` tiles of so many pixels and vectors, one after the other in a row. */
INLINE void taps_repeat(int64_t step, int64_t vectors, TAPS_ARGS)
{
    switch (2 * vectors + step) {
#define TAPS_CALL(STEP, B)                                                                                            \
    case 2 * B + STEP: taps_of_##STEP##_##B(count, pixels, depth, x, w, out, target, out_block, accumulate, finish); break;
#if TAPS_PIXELS(1) > 0
        TAPS_CALL(1, 1) TAPS_CALL(2, 1)
#endif
#if TAPS_PIXELS(2) > 0
        TAPS_CALL(1, 2) TAPS_CALL(2, 2) TAPS_CALL(1, 3) TAPS_CALL(2, 3)
#endif
#undef TAPS_CALL
    }
}

/* The fewest tiles, of nearly equal size, that make a row of `width` pixels, `step` (1 or 2) apart in x. */
static void taps_tiles(int64_t width, int64_t step, int64_t vectors, const tile_depth *depth, const float *x,
                       const float *w, float *out, const int64_t *target, int64_t out_block, int accumulate,
                       const tile_finish *finish)
{
    const int64_t most = TAPS_PIXELS(vectors) > 0 ? TAPS_PIXELS(vectors) : 1, number = (width + most - 1) / most;
    const int64_t size = width / number, larger = width % number;
    if (larger > 0)
        taps_repeat(step, vectors, larger, size + 1, depth, x, w, out, target, out_block, accumulate, finish);
    x += larger * (size + 1) * step * SIMD_WIDTH;
    target += larger * (size + 1);
    taps_repeat(step, vectors, number - larger, size, depth, x, w, out, target, out_block, accumulate, finish);
}

#endif
