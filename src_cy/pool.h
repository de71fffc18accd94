/* Pooling over channel-blocked planes (H, W, V): a lane is a channel. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_POOL_H
#define NORMENGINE_POOL_H

#include "simd.h"
#include "window.h"

/* The most terms that one register sums before it is added to the total. */
#define POOL_RUN 64
/* Loops that have constant ends for the windows that are common, and any end for the others. */
#define POOL_UNROLL _Pragma("GCC unroll 3")

/* Does WINDOW(whole, rows, cols, from) for each output j of a row, its first tap inside the image at column `from`.
 * whole is 1, and rows and cols are constants, where all of the window lies inside and its size is common. */
#define POOL_WINDOWS(WINDOW)                                                                                          \
    for (int64_t j = 0; j < v->count;) {                                                                              \
        const int64_t whole = row.end - row.first == h->taps && j >= v->inside && j < v->inside_end;                  \
        if (whole && h->taps == 2 && v->taps == 2) {                                                                  \
            for (; j < v->inside_end; j++) WINDOW(1, 2, 2, v->in_first + j * v->in_step)                              \
        } else if (whole && h->taps == 3 && v->taps == 3) {                                                           \
            for (; j < v->inside_end; j++) WINDOW(1, 3, 3, v->in_first + j * v->in_step)                              \
        } else {                                                                                                      \
            const window_span col = window_within(v, j);                                                                  \
            WINDOW(0, row.end - row.first, col.end - col.first, col.at)                                               \
            j++;                                                                                                      \
        }                                                                                                             \
    }

/* The maximum of a window that is not empty: a NaN before all. Rows and taps are row_step and tap_step floats apart. */
INLINE vec pool_largest(int64_t rows, int64_t cols, const float *x, int64_t row_step, int64_t tap_step)
{
    vec best = load(x);
    POOL_UNROLL for (int64_t r = 0; r < rows; r++)
        POOL_UNROLL for (int64_t c = 0; c < cols; c++) {
            const vec value = load(x + r * row_step + c * tap_step);
            best = choose((value > best) | (value != value), value, best);
        }
    return best;
}

/* The rows i_first..i_end of a plane of maxima. Lanes from `channels` on are no channels, and stay zero. Comparisons
 * take denormal numbers for zero, so that a maximum that is one may be of either sign; the sum makes it 0. */
static void pool_max_rows(const window_axis *h, const window_axis *v, const float *x, float *y, int64_t i_first,
                          int64_t i_end, int64_t channels)
{
    const vec nothing = keep(splat(-INFINITY), lanes_between(0, channels < SIMD_WIDTH ? channels : SIMD_WIDTH));
    const int64_t row_step = h->tap_step * v->in_size * SIMD_WIDTH, tap_step = v->tap_step * SIMD_WIDTH;
    for (int64_t i = i_first; i < i_end; i++) {
        const window_span row = window_within(h, i);
        const float *line = x + row.at * v->in_size * SIMD_WIDTH;
        float *to = y + i * v->count * SIMD_WIDTH;
#define WINDOW(WHOLE, ROWS, COLS, FROM)                                                                               \
    {                                                                                                                 \
        const int64_t rows = ROWS, cols = COLS;                                                                       \
        const vec best = rows > 0 && cols > 0                                                                         \
                             ? pool_largest(ROWS, COLS, line + (FROM) * SIMD_WIDTH, row_step, tap_step)               \
                             : nothing;                                                                               \
        store(to + j * SIMD_WIDTH, best + splat(0.0f));                                                               \
    }
        POOL_WINDOWS(WINDOW)
#undef WINDOW
    }
}

INLINE void pool_put(const int disjoint, float *to, vec v) { store(to, disjoint ? v : load(to) + v); }

/* A window's gradient goes to the first of its equal maxima, or to its last NaN. */
INLINE void pool_max_grad_window(const int disjoint, int64_t rows, int64_t cols, const float *x, float *dx,
                                 int64_t row_step, int64_t tap_step, vec gradient)
{
    vec best = load(x);
    ivec place = {0};
    int32_t tap = 0;
    POOL_UNROLL for (int64_t r = 0; r < rows; r++)
        POOL_UNROLL for (int64_t c = 0; c < cols; c++, tap++) {
            const vec value = load(x + r * row_step + c * tap_step);
            const ivec better = (value > best) | (value != value);
            best = choose(better, value, best);
            place = (place & ~better) | (((ivec){0} + tap) & better);
        }
    tap = 0;
    POOL_UNROLL for (int64_t r = 0; r < rows; r++)
        POOL_UNROLL for (int64_t c = 0; c < cols; c++, tap++)
            pool_put(disjoint, dx + r * row_step + c * tap_step, keep(gradient, place == tap));
}

/* Sets the rows from *done up to `end` of a plane to zero. */
INLINE void pool_clear(float *dx, int64_t *done, int64_t end, const window_axis *h, const window_axis *v)
{
    if (end > h->in_size) end = h->in_size;
    if (end <= *done) return;
    const int64_t pitch = v->in_size * SIMD_WIDTH;
    memset(dx + *done * pitch, 0, (end - *done) * pitch * sizeof(float));
    *done = end;
}

/* Whether every pixel up to that of the last window lies in exactly one window. */
INLINE int pool_disjoint(const window_axis *a) { return a->in_step == a->taps && (a->tap_step == 1 || a->taps == 1); }

/* Where the windows of an axis end, at most at the end of the image. */
INLINE int64_t pool_reach(const window_axis *a, int64_t i)
{
    const int64_t end = a->in_first + i * a->in_step + (a->taps - 1) * a->tap_step + 1;
    return end < a->in_size ? end : a->in_size;
}

/* Goes through the output rows of a gradient's plane: clears what is to be added to before the first window reaches it,
 * or, where windows are disjoint and write instead, what no window reaches. Calls WINDOW as POOL_WINDOWS does. */
#define POOL_GRAD_ROWS(DISJOINT, WINDOW)                                                                              \
    int64_t done = 0;                                                                                                 \
    const int64_t pitch = v->in_size * SIMD_WIDTH, reach = pool_reach(v, v->count - 1);                               \
    for (int64_t i = 0; i < h->count; i++) {                                                                          \
        const window_span row = window_within(h, i);                                                                      \
        const int64_t row_end = pool_reach(h, i);                                                                     \
        if (!DISJOINT) pool_clear(dx, &done, row_end, h, v);                                                          \
        if (DISJOINT && reach < v->in_size)                                                                           \
            for (int64_t r = row.at; r < row_end; r++)                                                                \
                memset(dx + r * pitch + reach * SIMD_WIDTH, 0, (v->in_size - reach) * SIMD_WIDTH * sizeof(float));    \
        done = row_end > done ? row_end : done;                                                                       \
        const float *from_line = dy + i * v->count * SIMD_WIDTH;                                                      \
        float *line = dx + row.at * pitch;                                                                            \
        POOL_WINDOWS(WINDOW)                                                                                          \
    }                                                                                                                 \
    pool_clear(dx, &done, h->in_size, h, v);

INLINE void pool_max_grad_rows(const int disjoint, const window_axis *h, const window_axis *v, const float *dy,
                               const float *x, float *dx)
{
    const int64_t row_step = h->tap_step * v->in_size * SIMD_WIDTH, tap_step = v->tap_step * SIMD_WIDTH;
#define WINDOW(WHOLE, ROWS, COLS, FROM)                                                                               \
    {                                                                                                                 \
        const int64_t rows = ROWS, cols = COLS;                                                                       \
        float *to = line + (FROM) * SIMD_WIDTH;                                                                       \
        if (rows > 0 && cols > 0)                                                                                     \
            pool_max_grad_window(disjoint, ROWS, COLS, x + (to - dx), to, row_step, tap_step,                         \
                                 load(from_line + j * SIMD_WIDTH));                                                   \
    }
    POOL_GRAD_ROWS(disjoint, WINDOW)
#undef WINDOW
}

static void pool_max_grad_plane(const window_axis *h, const window_axis *v, const float *dy, const float *x, float *dx)
{
    if (pool_disjoint(h) && pool_disjoint(v)) pool_max_grad_rows(1, h, v, dy, x, dx);
    else pool_max_grad_rows(0, h, v, dy, x, dx);
}

/* The sum over `cols` neighbours of each of the rows, row_step floats apart. */
INLINE vec pool_sum(int64_t rows, int64_t cols, const float *x, int64_t row_step)
{
    vec total = {0};
    for (int64_t r = 0; r < rows; r++, x += row_step) {
        int64_t c = 0;
        while (c + 4 <= cols) {
            const int64_t end = cols - c > 4 * POOL_RUN ? c + 4 * POOL_RUN : cols;
            vec sum[4] = {{0}};
            for (; c + 4 <= end; c += 4)
                UNROLL for (int k = 0; k < 4; k++) sum[k] += load(x + (c + k) * SIMD_WIDTH);
            total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        }
        vec sum = {0};
        for (; c < cols; c++) sum += load(x + c * SIMD_WIDTH);
        total += sum;
    }
    return total;
}

/* The same for a few constant rows and columns. */
INLINE vec pool_sum_few(const int rows, const int cols, const float *x, int64_t row_step)
{
    vec total = {0};
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < cols; c++) total += load(x + r * row_step + c * SIMD_WIDTH);
    return total;
}

/* What an average divides by along an axis: the positions of window i inside the image, or, with pad_after not
 * negative, inside the image and its padding. */
INLINE int64_t pool_count(const window_axis *a, int64_t i, int64_t pad_after)
{
    const int64_t from = a->in_first + i * a->in_step;
    const int64_t last = pad_after < 0 ? a->in_size : a->in_size + pad_after;
    const int64_t end = from + a->taps < last ? from + a->taps : last;
    return end - (pad_after < 0 && from < 0 ? 0 : from);
}

#define POOL_SCALE (1.0f / (float)(pool_count(h, i, pad_bottom) * pool_count(v, j, pad_right)))

/* The rows i_first..i_end of a plane of averages. */
static void pool_avg_rows(const window_axis *h, const window_axis *v, int64_t pad_bottom, int64_t pad_right,
                          const float *x, float *y, int64_t i_first, int64_t i_end)
{
    const int64_t row_step = v->in_size * SIMD_WIDTH;
    const float scale = 1.0f / (float)(h->taps * v->taps);
    for (int64_t i = i_first; i < i_end; i++) {
        const window_span row = window_within(h, i);
        const float *line = x + row.at * row_step;
        float *to = y + i * v->count * SIMD_WIDTH;
#define WINDOW(WHOLE, ROWS, COLS, FROM)                                                                               \
    {                                                                                                                 \
        const float *from = line + (FROM) * SIMD_WIDTH;                                                               \
        const vec sum = WHOLE ? pool_sum_few(ROWS, COLS, from, row_step)                                              \
                                             : pool_sum(ROWS, COLS, from, row_step);                                  \
        store(to + j * SIMD_WIDTH, sum * (WHOLE ? scale : POOL_SCALE));                                               \
    }
        POOL_WINDOWS(WINDOW)
#undef WINDOW
    }
}

INLINE void pool_spread(const int disjoint, int64_t rows, int64_t cols, float *dx, int64_t row_step, vec share)
{
    POOL_UNROLL for (int64_t r = 0; r < rows; r++)
        POOL_UNROLL for (int64_t c = 0; c < cols; c++) pool_put(disjoint, dx + r * row_step + c * SIMD_WIDTH, share);
}

INLINE void pool_avg_grad_rows(const int disjoint, const window_axis *h, const window_axis *v, int64_t pad_bottom,
                               int64_t pad_right, const float *dy, float *dx)
{
    const float scale = 1.0f / (float)(h->taps * v->taps);
#define WINDOW(WHOLE, ROWS, COLS, FROM)                                                                               \
    pool_spread(disjoint, ROWS, COLS, line + (FROM) * SIMD_WIDTH, pitch,                                              \
                load(from_line + j * SIMD_WIDTH) * (WHOLE ? scale : POOL_SCALE));
    POOL_GRAD_ROWS(disjoint, WINDOW)
#undef WINDOW
}

static void pool_avg_grad_plane(const window_axis *h, const window_axis *v, int64_t pad_bottom, int64_t pad_right,
                                const float *dy, float *dx)
{
    if (pool_disjoint(h) && pool_disjoint(v)) pool_avg_grad_rows(1, h, v, pad_bottom, pad_right, dy, dx);
    else pool_avg_grad_rows(0, h, v, pad_bottom, pad_right, dy, dx);
}

/* Region i of an axis of `size` positions in `count` regions, which overlap where they are not equal. */
INLINE window_span pool_region(int64_t size, int64_t count, int64_t i)
{
    const window_span s = {i * size / count, ((i + 1) * size + count - 1) / count, i * size / count};
    return s;
}

static void pool_adaptive_plane(int64_t height, int64_t width, int64_t out_height, int64_t out_width, const float *x,
                                float *y)
{
    const int64_t pitch = width * SIMD_WIDTH;
    for (int64_t i = 0; i < out_height; i++) {
        const window_span rows = pool_region(height, out_height, i);
        for (int64_t j = 0; j < out_width; j++, y += SIMD_WIDTH) {
            const window_span cols = pool_region(width, out_width, j);
            const int64_t down = rows.end - rows.first, across = cols.end - cols.first;
            const float *from = x + rows.first * pitch + cols.first * SIMD_WIDTH;
            const vec sum = across == width ? pool_sum(1, down * width, from, 0) : pool_sum(down, across, from, pitch);
            store(y, sum * (1.0f / (float)(down * across)));
        }
    }
}

static void pool_adaptive_grad_plane(int64_t height, int64_t width, int64_t out_height, int64_t out_width,
                                     const float *dy, float *dx)
{
    const int64_t pitch = width * SIMD_WIDTH;
    const int disjoint = height % out_height == 0 && width % out_width == 0;
    if (!disjoint) memset(dx, 0, height * pitch * sizeof(float));
    for (int64_t i = 0; i < out_height; i++) {
        const window_span rows = pool_region(height, out_height, i);
        for (int64_t j = 0; j < out_width; j++, dy += SIMD_WIDTH) {
            const window_span cols = pool_region(width, out_width, j);
            const int64_t down = rows.end - rows.first, across = cols.end - cols.first;
            const vec share = load(dy) * (1.0f / (float)(down * across));
            float *to = dx + rows.first * pitch + cols.first * SIMD_WIDTH;
            if (!disjoint) pool_spread(0, down, across, to, pitch, share);
            else if (across == width) pool_spread(1, 1, down * width, to, pitch, share);
            else pool_spread(1, down, across, to, pitch, share);
        }
    }
}

#endif
