/* Depthwise convolution over channel-blocked planes (H, W, V): a lane is a channel, so that a tap is one vector. V below
 * is SIMD_WIDTH. */
#ifndef NORMENGINE_DEPTHWISE_H
#define NORMENGINE_DEPTHWISE_H

#include "simd.h"
#include "window.h"

/* Pixels of a row that are summed at a time: beside nine weights in registers FEW, beside one MANY, with two sums each
 * ANY. */
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define DEPTHWISE_FEW 8
#define DEPTHWISE_MANY 12
#define DEPTHWISE_ANY 12
#elif SIMD_WIDTH == 8
#define DEPTHWISE_FEW 6
#define DEPTHWISE_MANY 8
#define DEPTHWISE_ANY 6
#else
#define DEPTHWISE_FEW 4
#define DEPTHWISE_MANY 8
#define DEPTHWISE_ANY 6
#endif
/* The most taps whose weights stay in registers. */
#define DEPTHWISE_HELD 9
/* How far ahead, in floats, inputs are prefetched where a stride of 2 brings in two new rows at a time. Hardware follows
 * one row after the other, whether read or written, by itself, and faster if it is left alone. */
#define DEPTHWISE_AHEAD 2048

/* What happens to a sum before it is stored: y = clamp(sum + bias + residual); residual is laid out as the output, or
 * NULL. The lanes that are no channels have a bias and bounds of zero, and so stay zero. */
typedef struct {
    float bias[SIMD_WIDTH], low[SIMD_WIDTH], high[SIMD_WIDTH];
    const float *residual;
    int64_t from_below, from_above;
} depthwise_finish;

static void depthwise_finish_channels(depthwise_finish *f, const float *bias, const float *residual, double low,
                                      double high, int64_t channels)
{
    for (int64_t i = 0; i < SIMD_WIDTH; i++) {
        f->bias[i] = i < channels && bias ? bias[i] : 0.0f;
        f->low[i] = i < channels ? (float)low : 0.0f;
        f->high[i] = i < channels ? (float)high : 0.0f;
    }
    f->residual = residual;
    f->from_below = low > -INFINITY;
    f->from_above = high < INFINITY;
}

/* Ends `pixels` sums and stores them at out + at, step floats apart; residual is where the row of out is in it. */
INLINE void depthwise_store(const int pixels, vec *sum, float *out, int64_t at, int64_t step, const depthwise_finish *f,
                            const float *residual)
{
    if (residual)
        UNROLL for (int p = 0; p < pixels; p++) sum[p] += load(residual + at + p * step);
    if (f->from_below) {
        const vec low = load(f->low);
        UNROLL for (int p = 0; p < pixels; p++) sum[p] = choose(sum[p] < low, low, sum[p]);
    }
    if (f->from_above) {
        const vec high = load(f->high);
        UNROLL for (int p = 0; p < pixels; p++) sum[p] = choose(sum[p] > high, high, sum[p]);
    }
    UNROLL for (int p = 0; p < pixels; p++) store(out + at + p * step, sum[p]);
}

/* Neighbouring outputs: start + the sums over the taps skip..end of each of the rows, whose inputs x[row] + from + ...
 * lie inside. A pixel alone has a sum for each row, so that these do not wait for one another. */
INLINE void depthwise_sums(const int pixels, const int rows, const int cols, const int skip, const int end,
                           const int in_step, const float *const *x, int64_t from, const vec *held, const float *w,
                           vec start, vec *sum)
{
    const int parts = pixels == 1 ? rows : 1;
    vec part[5];
    UNROLL for (int p = 0; p < pixels; p++) sum[p] = start;
    UNROLL for (int r = 1; r < parts; r++) part[r] = splat(0.0f);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = skip; c < end; c++) {
            const vec weight = held ? held[r * cols + c] : load(w + (r * cols + c) * SIMD_WIDTH);
            UNROLL for (int p = 0; p < pixels; p++) {
                const vec product = load(x[r] + from + (p * in_step + c) * SIMD_WIDTH) * weight;
                if (r > 0 && parts > 1) part[r] += product;
                else sum[p] += product;
            }
        }
    UNROLL for (int r = 1; r < parts; r++) sum[0] += part[r];
}

/* The same for any number of taps, a run of sums for each row of them; x has a row for each. */
INLINE void depthwise_sums_any(const int pixels, int64_t rows, int64_t cols, int64_t skip, int64_t end, int64_t in_step,
                               int64_t tap_step, const float *const *x, int64_t from, const float *w, vec start,
                               vec *sum)
{
    UNROLL for (int p = 0; p < pixels; p++) sum[p] = start;
    for (int64_t r = 0; r < rows; r++) {
        vec run[DEPTHWISE_ANY];
        UNROLL for (int p = 0; p < pixels; p++) run[p] = splat(0.0f);
        for (int64_t c = skip; c < end; c++) {
            const float *tap = x[r] + from + c * tap_step;
            const vec weight = load(w + (r * cols + c) * SIMD_WIDTH);
            UNROLL for (int p = 0; p < pixels; p++) run[p] += load(tap + p * in_step) * weight;
        }
        UNROLL for (int p = 0; p < pixels; p++) sum[p] += run[p];
    }
}

/* Output i of a row, whatever of its taps lies inside. */
static void depthwise_border(int64_t i, int64_t rows, const window_axis *v, const float *const *x, const float *w,
                             float *out, const depthwise_finish *f, const float *residual)
{
    const int64_t from = v->in_first + i * v->in_step;
    int64_t skip = 0, end = v->taps;
    while (skip < end && from + skip * v->tap_step < 0) skip++;
    while (skip < end && from + (end - 1) * v->tap_step >= v->in_size) end--;
    vec sum;
    depthwise_sums_any(1, rows, v->taps, skip, end, 0, v->tap_step * SIMD_WIDTH, x, from * SIMD_WIDTH, w, load(f->bias),
                       &sum);
    depthwise_store(1, &sum, out, (v->out_first + i * v->out_step) * SIMD_WIDTH, 0, f, residual);
}

/* x[k] = where the input row of tap k of output row i starts; `zeros` for rows outside. */
INLINE void depthwise_tap_rows(const float **x, const float *in, const window_axis *h, int64_t taps, int64_t i,
                               int64_t width, const float *zeros)
{
    int64_t row = h->in_first + i * h->in_step;
    UNROLL for (int64_t k = 0; k < taps; k++, row += h->tap_step)
        x[k] = row >= 0 && row < h->in_size ? in + row * width : zeros;
}

/* One output, start + the sums over those of its neighbouring taps that lie inside: the input of the first one is at
 * `from`, in pixels. */
INLINE vec depthwise_single(const int rows, const int cols, const float *const *x, int64_t from, int64_t in_size,
                            const vec *held, const float *w, vec start)
{
    const int64_t behind = from + cols - in_size, at = from * SIMD_WIDTH;
    vec sum[1];
#define TAPS(SKIP, END) depthwise_sums(1, rows, cols, SKIP, END, 0, x, at, held, w, start, sum)
    if (from >= 0 && behind <= 0) TAPS(0, cols);
    else if (cols > 1 && from == -1 && behind <= 0) TAPS(1, cols);
    else if (cols > 3 && from == -2 && behind <= 0) TAPS(2, cols);
    else if (cols > 1 && from >= 0 && behind == 1) TAPS(0, cols - 1);
    else if (cols > 3 && from >= 0 && behind == 2) TAPS(0, cols - 2);
    else {
        const int64_t skip = from < 0 ? -from : 0, end = behind > 0 ? cols - behind : cols;
        depthwise_sums_any(1, rows, cols, skip, end, 0, SIMD_WIDTH, x, at, w, start, sum);
    }
#undef TAPS
    return sum[0];
}

/* The output rows row..row_end of a plane, of a kernel whose taps are neighbours. `w` has a vector for each tap. */
INLINE void depthwise_plane(const int rows, const int cols, const int in_step, const window_axis *h_axis,
                            const window_axis *v_axis, const float *in, const float *w, float *out, int64_t out_width,
                            const depthwise_finish *f, int64_t row, int64_t row_end, const float *zeros)
{
    const window_axis h = *h_axis, v = *v_axis;
    const int many = rows * cols > DEPTHWISE_HELD, pixels = many ? DEPTHWISE_MANY : DEPTHWISE_FEW;
    const int64_t in_pitch = v.in_size * SIMD_WIDTH, out_pitch = out_width * SIMD_WIDTH;
    const vec bias = load(f->bias);
    const float *residual = f->residual;
    vec weight[DEPTHWISE_HELD];
    if (!many) UNROLL for (int t = 0; t < rows * cols; t++) weight[t] = load(w + t * SIMD_WIDTH);
    const vec *const held = many ? 0 : weight;
    for (int64_t i = row; i < row_end; i++) {
        const int64_t start = (h.out_first + i * h.out_step) * out_pitch;
        float *const to = out + start;
        const float *const other = residual ? residual + start : 0;
        const float *x[5];
        depthwise_tap_rows(x, in, &h, rows, i, in_pitch, zeros);
        const float *const ahead = in + (h.in_first + i * h.in_step + rows) * in_pitch + DEPTHWISE_AHEAD;
        int64_t j = 0;
        vec sum[DEPTHWISE_MANY];
#define TILE(P)                                                                                                       \
    {                                                                                                                 \
        const int64_t from = (v.in_first + j * in_step) * SIMD_WIDTH;                                                 \
        if (in_step > 1)                                                                                              \
            UNROLL for (int r = 0; r < in_step; r++)                                                                  \
                UNROLL for (int q = 0; q < P * in_step * SIMD_WIDTH; q += 16)                                         \
                    __builtin_prefetch(ahead + from + r * in_pitch + q, 0, 2);                                        \
        depthwise_sums(P, rows, cols, 0, cols, in_step, x, from, held, w, bias, sum);                                 \
        depthwise_store(P, sum, to, j * SIMD_WIDTH, SIMD_WIDTH, f, other);                                            \
        j += P;                                                                                                       \
    }
        while (j < v.count) {
            while (j + pixels <= v.inside_end && j >= v.inside) TILE(pixels)
            if (j >= v.inside)
                switch (v.inside_end - j) {
#define CASE(P) case P: if (P < pixels) TILE(P) break;
                    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
#undef CASE
                }
            if (j == v.count) break;
            sum[0] = depthwise_single(rows, cols, x, v.in_first + j * in_step, v.in_size, held, w, bias);
            depthwise_store(1, sum, to, j * SIMD_WIDTH, 0, f, other);
            j++;
        }
#undef TILE
    }
}

/* Rows row..row_end of an input gradient at stride 2, of a phase of the rows and both of the columns, whose axes are
 * `v_axis`: every row is written from its first pixel to its last. `w` has the taps of the first phase, then those of
 * the second. */
INLINE void depthwise_both(const int rows, const int first, const int second, const window_axis *h_axis,
                           const window_axis *v_axis, const float *in, const float *w, float *out, int64_t out_width,
                           int64_t row, int64_t row_end, const float *zeros)
{
    const window_axis h = *h_axis, v[2] = {v_axis[0], v_axis[1]};
    const int cols[2] = {first, second}, many = rows * (first + second) > DEPTHWISE_HELD, pixels = DEPTHWISE_FEW / 2;
    const float *const weights[2] = {w, w + rows * first * SIMD_WIDTH};
    const int64_t inside = v[0].inside > v[1].inside ? v[0].inside : v[1].inside;
    const int64_t inside_end = v[0].inside_end < v[1].inside_end ? v[0].inside_end : v[1].inside_end;
    vec weight[2][DEPTHWISE_HELD];
    if (!many)
        UNROLL for (int q = 0; q < 2; q++)
            UNROLL for (int t = 0; t < rows * cols[q]; t++) weight[q][t] = load(weights[q] + t * SIMD_WIDTH);
    for (int64_t i = row; i < row_end; i++) {
        float *const to = out + (h.out_first + i * h.out_step) * out_width * SIMD_WIDTH;
        const float *x[5];
        depthwise_tap_rows(x, in, &h, rows, i, v[0].in_size * SIMD_WIDTH, zeros);
        for (int64_t j = 0; j < v[0].count;) {
            for (; j >= inside && j + pixels <= inside_end; j += pixels) {
                vec sum[2][DEPTHWISE_FEW / 2];
                UNROLL for (int q = 0; q < 2; q++)
                    depthwise_sums(pixels, rows, cols[q], 0, cols[q], 1, x, (v[q].in_first + j) * SIMD_WIDTH,
                                   many ? 0 : weight[q], weights[q], splat(0.0f), sum[q]);
                UNROLL for (int p = 0; p < pixels; p++)
                    UNROLL for (int q = 0; q < 2; q++) store(to + (2 * (j + p) + q) * SIMD_WIDTH, sum[q][p]);
            }
            if (j == v[0].count) break;
            UNROLL for (int q = 0; q < 2; q++)
                if (j < v[q].count)
                    store(to + (2 * j + q) * SIMD_WIDTH,
                          depthwise_single(rows, cols[q], x, v[q].in_first + j, v[q].in_size, many ? 0 : weight[q],
                                           weights[q], splat(0.0f)));
            j++;
        }
    }
}

/* The output rows row..row_end of a plane, of any kernel; x is memory for a pointer to each tap row. */
static void depthwise_any_kernel(const window_axis *h, const window_axis *v, const float *in, const float *w,
                                 float *out, int64_t out_width, const depthwise_finish *f, int64_t row, int64_t row_end,
                                 const float **x, const float *zeros)
{
    const int64_t in_step = v->in_step * SIMD_WIDTH, out_step = v->out_step * SIMD_WIDTH;
    const int64_t tap_step = v->tap_step * SIMD_WIDTH;
    const vec bias = load(f->bias);
    for (int64_t i = row; i < row_end; i++) {
        const int64_t start = (h->out_first + i * h->out_step) * out_width * SIMD_WIDTH;
        float *const to = out + start;
        const float *const other = f->residual ? f->residual + start : 0;
        for (int64_t k = 0, r = h->in_first + i * h->in_step; k < h->taps; k++, r += h->tap_step)
            x[k] = r >= 0 && r < h->in_size ? in + r * v->in_size * SIMD_WIDTH : zeros;
        int64_t j = 0;
        for (; j < v->inside; j++) depthwise_border(j, h->taps, v, x, w, to, f, other);
        int64_t from = v->in_first * SIMD_WIDTH + j * in_step, at = v->out_first * SIMD_WIDTH + j * out_step;
        vec sum[DEPTHWISE_ANY];
#define TILE(P)                                                                                                       \
    for (; j + P <= v->inside_end; j += P, from += P * in_step, at += P * out_step) {                                 \
        depthwise_sums_any(P, h->taps, v->taps, 0, v->taps, in_step, tap_step, x, from, w, bias, sum);                \
        depthwise_store(P, sum, to, at, out_step, f, other);                                                          \
    }
        TILE(DEPTHWISE_ANY)
        TILE(2)
#undef TILE
        for (; j < v->count; j++) depthwise_border(j, h->taps, v, x, w, to, f, other);
    }
}

typedef void (*depthwise_maker)(const window_axis *h, const window_axis *v, const float *in, const float *w,
                                float *out, int64_t out_width, const depthwise_finish *f, int64_t row, int64_t row_end,
                                const float **x, const float *zeros);

#define DEPTHWISE_MAKER(NAME)                                                                                         \
    static void NAME(const window_axis *h, const window_axis *v, const float *in, const float *w, float *out,         \
                     int64_t out_width, const depthwise_finish *f, int64_t row, int64_t row_end, const float **x,     \
                     const float *zeros)
#define DEPTHWISE_PLANE(NAME, R, C, I)                                                                                \
    DEPTHWISE_MAKER(NAME) { depthwise_plane(R, C, I, h, v, in, w, out, out_width, f, row, row_end, zeros); }
DEPTHWISE_PLANE(depthwise_3x3, 3, 3, 1)
DEPTHWISE_PLANE(depthwise_3x3_stride_2, 3, 3, 2)
DEPTHWISE_PLANE(depthwise_5x5, 5, 5, 1)
DEPTHWISE_PLANE(depthwise_5x5_stride_2, 5, 5, 2)
/* Taps of a row phase and of both column phases that there is a function for: of kernels of two to five columns, whose
 * rows have the same stride or none. */
#define DEPTHWISE_PHASES(EACH)                                                                                        \
    EACH(1, 1, 1) EACH(2, 2, 2) EACH(3, 1, 2) EACH(3, 2, 1) EACH(1, 1, 2) EACH(1, 2, 1)                               \
    EACH(2, 1, 2) EACH(2, 2, 1) EACH(2, 2, 3) EACH(2, 3, 2) EACH(3, 2, 3) EACH(3, 3, 2)
#define DEPTHWISE_BOTH(R, FIRST, SECOND)                                                                              \
    DEPTHWISE_MAKER(depthwise_both_##R##_##FIRST##_##SECOND)                                                          \
    {                                                                                                                 \
        depthwise_both(R, FIRST, SECOND, h, v, in, w, out, out_width, row, row_end, zeros);                           \
    }
DEPTHWISE_PHASES(DEPTHWISE_BOTH)

/* The function made for these taps and steps, or the one for any. Where v is the first of the phases of a stride, whose
 * axes lie one after the other, it may be one for several: *phases becomes how many of them it makes. */
static depthwise_maker depthwise_choose(const window_axis *h, const window_axis *v, int64_t *phases)
{
    *phases = 1;
    if (v->taps > 1 && v->tap_step != 1) return depthwise_any_kernel;
#define IS(R, C, I) (v->out_step == 1 && h->taps == R && v->taps == C && v->in_step == I)
    if (IS(3, 3, 1)) return depthwise_3x3;
    if (IS(3, 3, 2)) return depthwise_3x3_stride_2;
    if (IS(5, 5, 1)) return depthwise_5x5;
    if (IS(5, 5, 2)) return depthwise_5x5_stride_2;
#undef IS
    if (v->out_step != 2 || v->out_first != 0 || (v[1].taps > 1 && v[1].tap_step != 1)) return depthwise_any_kernel;
    *phases = 2;
#define BOTH(R, FIRST, SECOND)                                                                                        \
    if (h->taps == R && v[0].taps == FIRST && v[1].taps == SECOND) return depthwise_both_##R##_##FIRST##_##SECOND;
    DEPTHWISE_PHASES(BOTH)
#undef BOTH
    *phases = 1;
    return depthwise_any_kernel;
}

#endif
