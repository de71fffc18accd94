/* Work on rows of values: depthwise convolution, sums, pooling. */
#ifndef NORMENGINE_ROWS_H
#define NORMENGINE_ROWS_H

#include "simd.h"

#define DEPTHWISE_ROWS 8
#define DEPTHWISE_TAPS 8

/* to[i] = from[i * step] for i in first..end of 0..pitch, zero elsewhere; pitch is a whole number of vectors.
 * Nothing is read before from[-before] or from from[after] on. */
INLINE void spaced_copy(const int64_t step, float *to, int64_t pitch, const float *from, int64_t first, int64_t end,
                        int64_t before, int64_t after)
{
    for (int64_t i = 0; i < pitch; i += SIMD_WIDTH) {
        const int64_t reach = (i + SIMD_WIDTH) * step;
        if (i + SIMD_WIDTH <= first || i >= end) {
            store(to + i, splat(0.0f));
        } else if (step <= 2 && i * step >= -before && reach <= after) {
            vec v = load(from + i * step);
            if (step == 2) v = EVEN(v, load(from + i * step + SIMD_WIDTH));
            if (i < first || i + SIMD_WIDTH > end) v = keep(v, lanes_between(first - i, end - i));
            store(to + i, v);
        } else {
            for (int64_t l = i; l < i + SIMD_WIDTH; l++) to[l] = l >= first && l < end ? from[l * step] : 0.0f;
        }
    }
}

/* A band of rows of one plane with what lies around it: to[row][phase][i] =
 * plane[row_first + row][col_first + i * phases + phase], zero outside the plane; pitch is a whole number of vectors.
 * x is the whole array of size elements, beyond which nothing is read; the plane (h, w) starts at element plane. */
static void band_copy(float *to, const float *x, int64_t size, int64_t plane, int64_t h, int64_t w, int64_t row_first,
                      int64_t rows, int64_t col_first, int64_t phases, int64_t pitch)
{
    for (int64_t phase = 0; phase < phases; phase++) {
        const int64_t col = col_first + phase;
        const int64_t first = col < 0 ? (-col + phases - 1) / phases : 0;
        const int64_t end = col < w ? (w - 1 - col) / phases + 1 : 0;
        for (int64_t row = 0; row < rows; row++) {
            const int64_t inside = row_first + row >= 0 && row_first + row < h;
            const int64_t at = plane + (row_first + row) * w + col;
            float *line = to + (row * phases + phase) * pitch;
            if (!inside) memset(line, 0, pitch * sizeof(float));
            else if (phases == 1) spaced_copy(1, line, pitch, x + at, first, end, at, size - at);
            else if (phases == 2) spaced_copy(2, line, pitch, x + at, first, end, at, size - at);
            else spaced_copy(phases, line, pitch, x + at, first, end, at, size - at);
        }
    }
}

/* One vector of each of several rows of a depthwise convolution: out[r * out_pitch + lane] =
 * bias + sum over taps of weight[t] * band[at[t] + r * row_step + lane], full vectors. */
INLINE void depthwise_block(const int rows, int64_t taps, const int64_t *at, const float *weight, const float *band,
                            int64_t row_step, float bias, float *out, int64_t out_pitch)
{
    vec sum[DEPTHWISE_ROWS];
    UNROLL for (int r = 0; r < rows; r++) sum[r] = splat(bias);
    for (int64_t t = 0; t < taps; t++) {
        const float *from = band + at[t];
        vec w = splat(weight[t]);
        UNROLL for (int r = 0; r < rows; r++) sum[r] += load(from + r * row_step) * w;
    }
    UNROLL for (int r = 0; r < rows; r++) store(out + r * out_pitch, sum[r]);
}

static void depthwise_rows(int64_t rows, int64_t taps, const int64_t *at, const float *weight, const float *band,
                           int64_t row_step, float bias, float *out, int64_t out_pitch)
{
#define CASE(R) case R: depthwise_block(R, taps, at, weight, band, row_step, bias, out, out_pitch); break;
    switch (rows) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
#undef CASE
}

/* total[t] += sum over rows and columns of dy[r * dy_pitch + c] * band[at[t] + r * row_step + c]; vectors a row. */
INLINE void correlate_block(const int taps, const int64_t *at, const float *dy, int64_t dy_pitch, const float *band,
                            int64_t row_step, int64_t rows, int64_t vectors, double *total)
{
    vec sum[DEPTHWISE_TAPS];
    UNROLL for (int t = 0; t < taps; t++) sum[t] = splat(0.0f);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < vectors * SIMD_WIDTH; c += SIMD_WIDTH) {
            vec g = load(dy + r * dy_pitch + c);
            const float *from = band + r * row_step + c;
            UNROLL for (int t = 0; t < taps; t++) sum[t] += g * load(from + at[t]);
        }
    UNROLL for (int t = 0; t < taps; t++) total[t] += sum_lanes(sum[t]);
}

static void correlate_rows(int64_t taps, const int64_t *at, const float *dy, int64_t dy_pitch, const float *band,
                           int64_t row_step, int64_t rows, int64_t vectors, double *total)
{
#define CASE(T) case T: correlate_block(T, at, dy, dy_pitch, band, row_step, rows, vectors, total); break;
    switch (taps) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
#undef CASE
}

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

/* x[i * step] for a vector of i, where no element from x[after] on may be read. */
INLINE int can_load_spaced(int64_t i, int64_t step, int64_t after)
{
    return step <= 2 && (i + SIMD_WIDTH) * step <= after;
}

INLINE vec load_spaced(const float *x, int64_t i, int64_t step)
{
    return step == 1 ? load(x + i) : EVEN(load(x + 2 * i), load(x + 2 * i + SIMD_WIDTH));
}

/* Where the vector starts that comes after the one at i: the last of count ends at count, and so may overlap the one
 * before it; count where nothing is left. */
INLINE int64_t next_vector(int64_t i, int64_t count)
{
    if (i + 2 * SIMD_WIDTH <= count) return i + SIMD_WIDTH;
    return i + SIMD_WIDTH < count ? count - SIMD_WIDTH : count;
}

/* y[i] = max(y[i], x[i * step]) for count values; NaN wins. No element from x[after] on is read. */
static void row_max(float *y, const float *x, int64_t step, int64_t count, int64_t after)
{
    int64_t i = 0;
    for (; i + SIMD_WIDTH <= count && can_load_spaced(i, step, after); i = next_vector(i, count)) {
        vec v = load_spaced(x, i, step), m = load(y + i);
        store(y + i, choose((v > m) | (v != v), v, m));
    }
    for (; i < count; i++) {
        float v = x[i * step];
        y[i] = (v > y[i]) | (v != v) ? v : y[i];
    }
}

/* As row_max, with at[i] = first + i * step where x[i * step] is the new maximum or at[i] is still negative. */
static void row_argmax(float *y, int32_t *at, int32_t first, const float *x, int64_t step, int64_t count, int64_t after)
{
    int32_t numbers[SIMD_WIDTH];
    int64_t i = 0;
    for (int l = 0; l < SIMD_WIDTH; l++) numbers[l] = (int32_t)(l * step);
    const ivec lanes = *(const ivec_memory *)numbers + first;
    for (; i + SIMD_WIDTH <= count && can_load_spaced(i, step, after); i = next_vector(i, count)) {
        vec v = load_spaced(x, i, step), m = load(y + i);
        ivec old = *(const ivec_memory *)(at + i), better = (v > m) | (v != v) | (old < 0);
        store(y + i, choose(better, v, m));
        *(ivec_memory *)(at + i) = ((lanes + (int32_t)(i * step)) & better) | (old & ~better);
    }
    for (; i < count; i++) {
        float v = x[i * step];
        int better = (v > y[i]) | (v != v) | (at[i] < 0);
        y[i] = better ? v : y[i];
        at[i] = better ? first + (int32_t)(i * step) : at[i];
    }
}

/* y[i] += x[i * step] for count values. No element from x[after] on is read. */
static void row_add(float *y, const float *x, int64_t step, int64_t count, int64_t after)
{
    int64_t i = 0, done = 0;
    for (; i + SIMD_WIDTH <= count && can_load_spaced(i, step, after); i = next_vector(i, count)) {
        store(y + i, load(y + i) + keep(load_spaced(x, i, step), lanes_between(done - i, SIMD_WIDTH)));
        done = i + SIMD_WIDTH;
    }
    for (i = done; i < count; i++) y[i] += x[i * step];
}

/* y[i * step] += x[i] for count values. */
static void row_spread(float *y, const float *x, int64_t step, int64_t count)
{
    int64_t i = 0;
    if (step == 1)
        for (; i + SIMD_WIDTH <= count; i += SIMD_WIDTH) store(y + i, load(y + i) + load(x + i));
    for (; i < count; i++) y[i * step] += x[i];
}

/* y[i] = x[i] / (scale * counts[i]) for count values. */
static void row_divide(float *y, const float *x, float scale, const float *counts, int64_t count)
{
    int64_t i = 0;
    for (; i + SIMD_WIDTH <= count; i += SIMD_WIDTH) store(y + i, load(x + i) / (load(counts + i) * scale));
    for (; i < count; i++) y[i] = x[i] / (counts[i] * scale);
}

#endif
