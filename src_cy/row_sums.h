/* Sums over rows of values. */
#ifndef NORMENGINE_ROW_SUMS_H
#define NORMENGINE_ROW_SUMS_H

#include "simd.h"

#define SUM_BLOCK (128 * SIMD_WIDTH)

/* The sum of count values, blocks of float32 sums added in double. */
static double row_sum(const float *x, int64_t count)
{
    double total = 0;
    int64_t i = 0;
    while (i + SIMD_WIDTH <= count) {
        const int64_t end = count - i > SUM_BLOCK ? i + SUM_BLOCK : count;
        vec s[4] = {{0}};
        for (; i + 4 * SIMD_WIDTH <= end; i += 4 * SIMD_WIDTH)
            UNROLL for (int j = 0; j < 4; j++) s[j] += load(x + i + j * SIMD_WIDTH);
        for (; i + SIMD_WIDTH <= end; i += SIMD_WIDTH) s[0] += load(x + i);
        total += sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
    }
    for (; i < count; i++) total += x[i];
    return total;
}

/* Adds sum (x - shift) and sum (x - shift)^2 to sums[0] and sums[1]. */
static void row_moments(const float *x, int64_t count, float shift, double *sums)
{
    vec s[4] = {{0}}, q[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * SIMD_WIDTH <= count; i += 4 * SIMD_WIDTH)
        UNROLL for (int j = 0; j < 4; j++) {
            vec d = load(x + i + j * SIMD_WIDTH) - splat(shift);
            s[j] += d;
            q[j] += d * d;
        }
    for (; i + SIMD_WIDTH <= count; i += SIMD_WIDTH) {
        vec d = load(x + i) - splat(shift);
        s[0] += d;
        q[0] += d * d;
    }
    sums[0] += sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
    sums[1] += sum_lanes((q[0] + q[1]) + (q[2] + q[3]));
    for (; i < count; i++) {
        float d = x[i] - shift;
        sums[0] += d;
        sums[1] += (double)d * d;
    }
}

/* Adds sum dy * (x - shift) and sum dy to sums[0] and sums[1]. */
static void row_products(const float *dy, const float *x, int64_t count, float shift, double *sums)
{
    vec s[2] = {{0}}, q[2] = {{0}};
    int64_t i = 0;
    for (; i + 2 * SIMD_WIDTH <= count; i += 2 * SIMD_WIDTH)
        UNROLL for (int j = 0; j < 2; j++) {
            vec g = load(dy + i + j * SIMD_WIDTH);
            s[j] += g * (load(x + i + j * SIMD_WIDTH) - splat(shift));
            q[j] += g;
        }
    sums[0] += sum_lanes(s[0] + s[1]);
    sums[1] += sum_lanes(q[0] + q[1]);
    for (; i < count; i++) {
        sums[0] += (double)dy[i] * (x[i] - shift);
        sums[1] += dy[i];
    }
}

#endif
