/* Gathering the input values that output pixels need, one vector of pixels at a time (im2col). */
#ifndef NORMENGINE_PIXELS_H
#define NORMENGINE_PIXELS_H

#include "simd.h"

/* The taps of one axis that reach a grid of pixels: pixel i reads position i * step + shift + t * shift_step for
 * t < count, through tap first + t * tap_step of the kernel. */
typedef struct {
    int64_t count, first, tap_step, shift, shift_step;
} axis_taps;

/* Where a grid's pixels are read from and written to. Channels are those of one group. */
typedef struct {
    axis_taps rows, cols;
    int64_t height, width, step_h, step_w;
    int64_t channels, in_h, in_w;
    int64_t out_area, out_w, out_row, out_col, out_step_h, out_step_w;
} grid;

/* The input plane as the lanes of one vector of pixels see it through each tap: mask says which lanes lie inside, at
 * where in the plane (0 for those outside). Where neighbouring lanes lie step apart in memory, start is where lane 0
 * lies; step 0 says that they do not. */
typedef struct {
    int64_t step, start;
} pixels;

typedef struct {
    ivec mask, at;
} tap_lanes;

/* Bytes of the tap_lanes of one vector of pixels, and where they begin: after the pixels, aligned. */
#define PIXELS_BYTES(taps) (sizeof(tap_lanes) * ((taps) + 1))

INLINE tap_lanes *lanes_of(const pixels *p)
{
    return (tap_lanes *)(((uintptr_t)p + sizeof(pixels) + sizeof(ivec) - 1) / sizeof(ivec) * sizeof(ivec));
}

/* Looks at the pixels first, first + 1, ... (below end) of a grid. */
static void pixels_place(pixels *p, const grid *g, int64_t first, int64_t end)
{
    const int32_t absent = -(1 << 29);
    int64_t i = first / g->width, j = first % g->width;
    const int one_row = j + SIMD_WIDTH <= g->width || first + g->width - j >= end;
    int32_t rows[SIMD_WIDTH], cols[SIMD_WIDTH];
    p->start = i * g->step_h * g->in_w + j * g->step_w;
    if (one_row) p->step = g->step_w <= 2 ? g->step_w : 0;
    else p->step = g->step_h == 1 && g->step_w == 1 && g->width == g->in_w;
    for (int l = 0; l < SIMD_WIDTH; l++) {
        rows[l] = first + l < end ? (int32_t)(i * g->step_h) : absent;
        cols[l] = (int32_t)(j * g->step_w);
        if (++j == g->width) { j = 0; i++; }
    }
    const ivec row_first = *(const ivec_memory *)rows, col_first = *(const ivec_memory *)cols;
    tap_lanes *lanes = lanes_of(p);
    for (int64_t a = 0; a < g->rows.count; a++) {
        const ivec row = row_first + (int32_t)(g->rows.shift + a * g->rows.shift_step);
        const ivec row_inside = (row >= 0) & (row < (int32_t)g->in_h);
        const ivec row_at = (row & row_inside) * (int32_t)g->in_w;
        for (int64_t b = 0; b < g->cols.count; b++, lanes++) {
            const ivec col = col_first + (int32_t)(g->cols.shift + b * g->cols.shift_step);
            lanes->mask = row_inside & (col >= 0) & (col < (int32_t)g->in_w);
            lanes->at = (row_at + col) & lanes->mask;
        }
    }
}

/* Whether each pixel of the grid reads the pixel of the input at its own place, and no other. */
static int pixels_pointwise(const grid *g)
{
    return g->rows.count == 1 && g->cols.count == 1 && g->rows.shift == 0 && g->cols.shift == 0 && g->step_h == 1 &&
           g->step_w == 1 && g->height == g->in_h && g->width == g->in_w;
}

/* The im2col matrix of a pointwise grid, which is the input: count pixels of channels planes, area apart, into panels
 * [channel][TILE_COLS] that lie panel_pitch apart. A plane's pixels are read in one go, for planes may lie so that the
 * cache holds but few of them at a time. Zeros fill the last vector. */
static void pixels_copy(float *to, int64_t panel_pitch, const float *from, int64_t area, int64_t channels, int64_t count)
{
    for (int64_t c = 0; c < channels; c++, from += area, to += TILE_COLS) {
        float *panel = to;
        int64_t i = 0;
        for (; i + TILE_COLS <= count; i += TILE_COLS, panel += panel_pitch) {
            store(panel, load(from + i));
            store(panel + SIMD_WIDTH, load(from + i + SIMD_WIDTH));
        }
        if (i + SIMD_WIDTH <= count) {
            store(panel, load(from + i));
            i += SIMD_WIDTH;
            panel += SIMD_WIDTH;
        }
        if (i < count)
            for (int64_t l = 0; l < SIMD_WIDTH; l++) panel[l] = i + l < count ? from[i + l] : 0.0f;
    }
}

INLINE vec gather_lanes(const float *plane, ivec at)
{
    vec v = {0};
    UNROLL for (int l = 0; l < SIMD_WIDTH; l++) v[l] = plane[at[l]];
    return v;
}

/* All taps of one channel: to[t * pitch + lane]; from is where lane 0 lies with no shift. */
INLINE void gather_channel(const int step, const tap_lanes *lanes, const grid *g, const float *from, float *to,
                           int64_t pitch)
{
    const int64_t rows = g->rows.count, cols = g->cols.count;
    const int64_t row_step = g->rows.shift_step * g->in_w, col_step = g->cols.shift_step;
    from += g->rows.shift * g->in_w + g->cols.shift;
    for (int64_t a = 0; a < rows; a++, from += row_step) {
        const float *tap = from;
        for (int64_t b = 0; b < cols; b++, tap += col_step, to += pitch, lanes++)
            store(to, keep(step == 1 ? load(tap) : EVEN(load(tap), load(tap + SIMD_WIDTH)), lanes->mask));
    }
}

/* The rows first..end of the im2col matrix, which go over (channel, tap row, tap column), for the pixels: values of the
 * input, zero outside the plane, to[(row - first) * pitch + lane]. x is the whole array of size elements, of which
 * nothing beyond is read; channel 0 starts at element plane. */
static void pixels_gather(const pixels *p, const grid *g, float *to, int64_t pitch, int64_t first, int64_t end,
                          const float *x, int64_t size, int64_t plane)
{
    const int64_t taps = g->rows.count * g->cols.count, area = g->in_h * g->in_w;
    const int64_t row_reach = (g->rows.count - 1) * g->rows.shift_step;
    const int64_t col_reach = (g->cols.count - 1) * g->cols.shift_step;
    const int64_t near = g->rows.shift * g->in_w + g->cols.shift, far = near + row_reach * g->in_w + col_reach;
    const int64_t lowest = p->start + (near < far ? near : far);
    const int64_t highest = p->start + (near < far ? far : near) + p->step * SIMD_WIDTH;
    const tap_lanes *lanes = lanes_of(p);
    int64_t k = first, t = taps ? first % taps : 0;
    const float *from = taps ? x + plane + first / taps * area : x;
    for (; k < end; from += area, t = 0) {
        const int64_t place = from - x;
        if (p->step && t == 0 && end - k >= taps && place + lowest >= 0 && place + highest <= size) {
            if (p->step == 1) gather_channel(1, lanes, g, from + p->start, to, pitch);
            else gather_channel(2, lanes, g, from + p->start, to, pitch);
            to += taps * pitch;
            k += taps;
        } else {
            for (; t < taps && k < end; t++, k++, to += pitch)
                store(to, keep(gather_lanes(from, lanes[t].at), lanes[t].mask));
        }
    }
}

#endif
