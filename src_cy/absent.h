/* Weights that are absent: an output channel has no product with the inputs of another group or, where phases lie side
 * by side, under a tap of another phase. They are packed as -0.0, which no other weight is. As zeros they do nothing,
 * unless an input is NaN or infinite: then sums that became NaN are made again without them. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_ABSENT_H
#define NORMENGINE_ABSENT_H

#include "taps.h"
#include "conv_microkernel.h"

/* A weight that is there: zero is 0.0, which changes no sum. */
INLINE float present(float weight) { return weight + 0.0f; }

/* `count` vectors of absent weights. */
static void pack_absent(float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i++) store(to + i * SIMD_WIDTH, splat(-0.0f));
}

/* `count` vectors of weights that are there. */
static void pack_present(float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i++) store(to + i * SIMD_WIDTH, load(to + i * SIMD_WIDTH) + splat(0.0f));
}

/* Whether rows of vectors are finite: zero times anything else is NaN. */
static int finite_rows(const float *x, int64_t rows, int64_t row_step, int64_t cols, int64_t col_step)
{
    const vec zero = splat(0.0f);
    vec sum[4] = {{0}};
    if (row_step == cols * col_step) cols *= rows, rows = 1;
    for (int64_t r = 0; r < rows; r++) {
        const float *at = x + r * row_step;
        int64_t c = 0;
        for (; c + 4 <= cols; c += 4)
            UNROLL for (int u = 0; u < 4; u++) sum[u] += load(at + (c + u) * col_step) * zero;
        for (; c < cols; c++) sum[0] += load(at + c * col_step) * zero;
    }
    return sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3])) == 0.0f;
}

/* Pixels that are made together, so that the sums of one need not wait for each other. */
#define PRESENT_PIXELS 4

/* Vector b of the sums of pixels whose inputs lie at x, without the products of absent weights w: tap by tap as
 * tile_product or, with `sharing`, as taps_product has them. */
INLINE void present_sums(int64_t b, int64_t vectors, int sharing, const tile_depth *depth, const float *const *x,
                         const float *w, vec *made)
{
    const int64_t rest = depth->rest_count ? depth->rest_count / depth->tap_count : 0;
    const int64_t across = sharing ? depth->across : 1, next = vectors * SIMD_WIDTH;
    vec sum[PRESENT_PIXELS] = {{0}};
    w += b * SIMD_WIDTH;
    for (int64_t n = 0, block = 0; n <= depth->blocks; n++, block += depth->x_block) {
        const int64_t channels = n < depth->blocks ? SIMD_WIDTH : rest, a_tap = channels * next;
        w += depth->before * a_tap;
        for (int64_t tap = 0, now; tap < depth->tap_count; tap += now, w += now * a_tap) {
            now = sharing ? taps_next(across - tap % across) : 1;
            for (int64_t c = 0; c < channels; c++)
                for (int64_t t = 0; t < now; t++) {
                    const int64_t at = block + depth->taps[tap + t] + c;
                    const vec weight = load(w + t * a_tap + c * next);
                    const ivec there = (ivec)weight != (ivec)splat(-0.0f);
                    UNROLL for (int p = 0; p < PRESENT_PIXELS; p++) sum[p] += weight * keep(splat(x[p][at]), there);
                }
        }
        w += depth->after * a_tap;
    }
    UNROLL for (int p = 0; p < PRESENT_PIXELS; p++) made[p] = sum[p];
}

/* Ends and stores the `vectors` sums of up to PRESENT_PIXELS pixels as tile_store does, once those that are NaN have been
 * made again; they are given TILE_VECTORS * V floats apart. */
static void present_store(int64_t pixels, int64_t vectors, int sharing, const tile_depth *depth, const float *x,
                          const int64_t *source, const float *w, const float *given, float *out, const int64_t *target,
                          int64_t out_block, int accumulate, const tile_finish *finish)
{
    vec sum[PRESENT_PIXELS][TILE_VECTORS], made[PRESENT_PIXELS];
    const float *at[PRESENT_PIXELS];
    for (int64_t p = 0; p < PRESENT_PIXELS; p++) at[p] = x + source[p < pixels ? p : 0];
    for (int64_t b = 0; b < vectors; b++) {
        present_sums(b, vectors, sharing, depth, at, w, made);
        for (int64_t p = 0; p < pixels; p++) {
            const vec before = load(given + (p * TILE_VECTORS + b) * SIMD_WIDTH);
            sum[p][b] = choose(before != before, made[p], before);
        }
    }
    for (int64_t p = 0; p < pixels; p++)
        tile_store(1, vectors, sum + p, out, target + p, out_block, accumulate, finish);
}

#endif
