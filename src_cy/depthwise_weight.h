/* The weight gradient of depthwise convolution over channel-blocked planes: each tap's sum over pixels of the output's
 * gradient times the input that the tap saw there. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_DEPTHWISE_WEIGHT_H
#define NORMENGINE_DEPTHWISE_WEIGHT_H

#include "depthwise.h"

/* Rows of a band, which each group of taps reads and which should stay in the L1 cache, and the most terms that one
 * register sums before it is added to the total. */
#define DEPTHWISE_BAND 16
#define DEPTHWISE_RUN 256
/* The most taps of a kernel row whose sums are taken at a time, and the rows of five taps. */
#define DEPTHWISE_GROUP 8
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define DEPTHWISE_FIVES 5
#else
#define DEPTHWISE_FIVES 2
#endif
#define DEPTHWISE_SUMS (5 * DEPTHWISE_FIVES)

/* Keeps the compiler from holding inputs in registers, which the sums need, until the next pixel reads them again. */
#define DEPTHWISE_FRESH(at) __asm__("" : "+r"(at))

INLINE void depthwise_add(float *total, vec v) { store(total, load(total) + v); }

/* sum[k][c] += line[j] * x[k][at + j * in_step + c * tap_step], for j < count pixels. What a stride of 2 brings in, two
 * rows and two columns for each pixel, is prefetched. */
INLINE void depthwise_weight_row(const int rows, const int cols, const int64_t in_step, const int64_t tap_step,
                                 const float *line, const float *const *x, int64_t at, int64_t count, vec *sum)
{
    vec s[DEPTHWISE_SUMS];
    const float *from[5];
    UNROLL for (int k = 0; k < rows; k++) from[k] = x[k];
    UNROLL for (int t = 0; t < rows * cols; t++) s[t] = sum[t];
    for (const float *end = line + count * SIMD_WIDTH; line < end; line += SIMD_WIDTH) {
        DEPTHWISE_FRESH(at);
        if (rows > 1 && in_step == 2)
            UNROLL for (int k = rows - 2; k < rows; k++)
                UNROLL for (int c = 0; c < 2; c++)
                    __builtin_prefetch(from[k] + at + c * SIMD_WIDTH + DEPTHWISE_AHEAD, 0, 2);
        const vec g = load(line);
        UNROLL for (int k = 0; k < rows; k++)
            UNROLL for (int c = 0; c < cols; c++)
                s[k * cols + c] += g * load(from[k] + at + c * tap_step * SIMD_WIDTH);
        at += in_step * SIMD_WIDTH;
    }
    UNROLL for (int t = 0; t < rows * cols; t++) sum[t] = s[t];
}

/* total[k][c] += the sum over a column of dy of the taps skip..end of each row, whose inputs lie at x[i][k] + at. */
INLINE void depthwise_weight_column(const int rows, const int skip, const int end, const int64_t tap_step,
                                    const float *dy, int64_t width, const float *(*x)[5], int64_t at, int64_t bands,
                                    float *total, int64_t pitch)
{
    const int cols = end - skip;
    vec sum[DEPTHWISE_SUMS];
    UNROLL for (int t = 0; t < rows * cols; t++) sum[t] = splat(0.0f);
    _Pragma("GCC unroll 1") for (int64_t i = 0; i < bands; i++) {
        const vec g = load(dy + i * width * SIMD_WIDTH);
        UNROLL for (int k = 0; k < rows; k++)
            UNROLL for (int c = 0; c < cols; c++)
                sum[k * cols + c] += g * load(x[i][k] + at + (skip + c) * tap_step * SIMD_WIDTH);
    }
    UNROLL for (int k = 0; k < rows; k++)
        UNROLL for (int c = 0; c < cols; c++)
            depthwise_add(total + (k * pitch + skip + c) * SIMD_WIDTH, sum[k * cols + c]);
}

/* total[r][c] += the sums of the taps from (top, left) on over the rows row..row_end of the plane dy, at most
 * DEPTHWISE_BAND of them. in_step and tap_step may be constants; total has `pitch` vectors a row. */
INLINE void depthwise_weight_taps(const int rows, const int cols, const int64_t in_step, const int64_t tap_step,
                                  int64_t top, int64_t left, const window_axis *h, const window_axis *v,
                                  const float *dy, const float *in, int64_t row, int64_t row_end, const float *zeros,
                                  float *total, int64_t pitch)
{
    const float *x[DEPTHWISE_BAND][5];
    const int64_t width = v->count, bands = row_end - row, in_size = v->in_size;
    const int64_t from = v->in_first + left * tap_step, last = from + (cols - 1) * tap_step;
    int64_t first = from < 0 ? (-from + in_step - 1) / in_step : 0;
    int64_t end = last < in_size ? (in_size - 1 - last) / in_step + 1 : 0;
    if (first > width) first = width;
    if (end > width) end = width;
    if (end < first) end = first;
    for (int64_t i = 0; i < bands; i++) {
        int64_t r = h->in_first + (row + i) * h->in_step + top * h->tap_step;
        UNROLL for (int k = 0; k < rows; k++, r += h->tap_step)
            x[i][k] = r >= 0 && r < h->in_size ? in + r * in_size * SIMD_WIDTH : zeros;
    }
    dy += row * width * SIMD_WIDTH;
    vec sum[DEPTHWISE_SUMS];
    UNROLL for (int t = 0; t < rows * cols; t++) sum[t] = splat(0.0f);
    int64_t terms = 0;
    for (int64_t i = 0; i < bands; i++) {
        const float *line = dy + i * width * SIMD_WIDTH;
        int64_t at = (first * in_step + from) * SIMD_WIDTH;
        for (int64_t j = first; j < end;) {
            const int64_t room = DEPTHWISE_RUN - terms, stop = end - j < room ? end : j + room;
            terms += stop - j;
            depthwise_weight_row(rows, cols, in_step, tap_step, line + j * SIMD_WIDTH, x[i], at, stop - j, sum);
            at += (stop - j) * in_step * SIMD_WIDTH;
            j = stop;
            if (terms < DEPTHWISE_RUN) continue;
            terms = 0;
            UNROLL for (int k = 0; k < rows; k++)
                UNROLL for (int c = 0; c < cols; c++) {
                    depthwise_add(total + (k * pitch + c) * SIMD_WIDTH, sum[k * cols + c]);
                    sum[k * cols + c] = splat(0.0f);
                }
        }
    }
    if (terms)
        UNROLL for (int k = 0; k < rows; k++)
            UNROLL for (int c = 0; c < cols; c++)
                depthwise_add(total + (k * pitch + c) * SIMD_WIDTH, sum[k * cols + c]);
    for (int64_t j = first > 0 ? 0 : end; j < width; j = j + 1 == first ? end : j + 1) {
        const int64_t at = j * in_step + from;
        int before = 0, beyond = 0;
        while (before < cols && at + before * tap_step < 0) before++;
        while (beyond < cols && at + (cols - 1 - beyond) * tap_step >= in_size) beyond++;
#define COLUMN(SKIP, END)                                                                                             \
    depthwise_weight_column(rows, SKIP, END, tap_step, dy + j * SIMD_WIDTH, width, x, at * SIMD_WIDTH, bands, total,  \
                            pitch)
        if (cols > 1 && before == 1 && beyond == 0) COLUMN(1, cols);
        else if (cols > 1 && before == 0 && beyond == 1) COLUMN(0, cols - 1);
        else if (cols > 3 && before == 2 && beyond == 0) COLUMN(2, cols);
        else if (cols > 3 && before == 0 && beyond == 2) COLUMN(0, cols - 2);
        else
            for (int c = before; c < cols - beyond; c++)
                depthwise_weight_column(rows, 0, 1, tap_step, dy + j * SIMD_WIDTH, width, x,
                                        (at + c * tap_step) * SIMD_WIDTH, bands, total + c * SIMD_WIDTH, pitch);
#undef COLUMN
    }
}

#define DEPTHWISE_WEIGHT_TAPS(NAME, R, C, I, T)                                                                       \
    static __attribute__((noinline)) void NAME(                                                                       \
                     int64_t top, int64_t left, const window_axis *h, const window_axis *v, const float *dy,    \
                     const float *in, int64_t row, int64_t row_end, const float *zeros, float *total)                 \
    {                                                                                                                 \
        depthwise_weight_taps(R, C, I, T, top, left, h, v, dy, in, row, row_end, zeros,                               \
                              total + (top * v->taps + left) * SIMD_WIDTH, v->taps);                                  \
    }
DEPTHWISE_WEIGHT_TAPS(depthwise_weight_3x3, 3, 3, 1, 1)
DEPTHWISE_WEIGHT_TAPS(depthwise_weight_3x3_stride_2, 3, 3, 2, 1)
DEPTHWISE_WEIGHT_TAPS(depthwise_weight_fives, DEPTHWISE_FIVES, 5, 1, 1)
DEPTHWISE_WEIGHT_TAPS(depthwise_weight_fives_stride_2, DEPTHWISE_FIVES, 5, 2, 1)
DEPTHWISE_WEIGHT_TAPS(depthwise_weight_five, 1, 5, 1, 1)
DEPTHWISE_WEIGHT_TAPS(depthwise_weight_five_stride_2, 1, 5, 2, 1)
#define DEPTHWISE_ROW(C) DEPTHWISE_WEIGHT_TAPS(depthwise_weight_row_##C, 1, C, v->in_step, v->tap_step)
DEPTHWISE_ROW(1) DEPTHWISE_ROW(2) DEPTHWISE_ROW(3) DEPTHWISE_ROW(4)
DEPTHWISE_ROW(5) DEPTHWISE_ROW(6) DEPTHWISE_ROW(7) DEPTHWISE_ROW(8)

/* total[tap] += the sums of all taps over the rows row..row_end, at most DEPTHWISE_BAND, of the plane dy. */
static void depthwise_weight_band(const window_axis *h, const window_axis *v, const float *dy, const float *in,
                                  int64_t row, int64_t row_end, const float *zeros, float *total)
{
#define TAPS(NAME) depthwise_weight_##NAME(top, left, h, v, dy, in, row, row_end, zeros, total)
    const int neighbours = v->tap_step == 1 && v->in_step <= 2;
    int64_t top = 0, left = 0;
    if (neighbours && h->taps == 3 && v->taps == 3) {
        if (v->in_step == 1) TAPS(3x3);
        else TAPS(3x3_stride_2);
    } else if (neighbours && v->taps == 5) {
        for (; top + DEPTHWISE_FIVES <= h->taps; top += DEPTHWISE_FIVES)
            if (v->in_step == 1) TAPS(fives);
            else TAPS(fives_stride_2);
        for (; top < h->taps; top++)
            if (v->in_step == 1) TAPS(five);
            else TAPS(five_stride_2);
    } else {
        for (; top < h->taps; top++)
            for (left = 0; left < v->taps; left += DEPTHWISE_GROUP) {
#define CASE(C) case C: TAPS(row_##C); break;
                switch (v->taps - left) {
                    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
                    default: TAPS(row_8);
                }
#undef CASE
            }
    }
#undef TAPS
}

/* dw[channel][tap] = the sum over chunks, pitch floats apart, of total[tap][channel]. */
static void depthwise_weight_merge(const float *total, int64_t chunks, int64_t pitch, int64_t taps, float *dw,
                                   int64_t channels)
{
    for (int64_t t = 0; t < taps; t++) {
        float lanes[SIMD_WIDTH];
        vec sum = {0};
        for (int64_t k = 0; k < chunks; k++) sum += load(total + k * pitch + t * SIMD_WIDTH);
        store(lanes, sum);
        for (int64_t c = 0; c < channels; c++) dw[c * taps + t] = lanes[c];
    }
}

#endif
