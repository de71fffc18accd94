/* Gathering the input values that output pixels need, one vector of pixels at a time (im2col). */
#ifndef NORMENGINE_PIXELS_H
#define NORMENGINE_PIXELS_H

#include "simd.h"

#define ABSENT (-(1 << 29))

/* One vector of output pixels: where in the input plane each lane's window starts (ABSENT rows for lanes that hold no
 * pixel), and how far apart neighbouring lanes lie in memory if that is the same for all: step 1 or 2, else 0. */
typedef struct {
    int32_t row[SIMD_WIDTH];
    int32_t col[SIMD_WIDTH];
    int64_t step;
} pixels;

/* Fills in the pixels first, first + 1, ... (below end) of a grid of the given width. */
static void pixels_place(pixels *p, int64_t first, int64_t end, int64_t grid_w, int64_t step_h, int64_t step_w, int64_t in_w)
{
    int64_t i = first / grid_w, j = first % grid_w;
    int one_row = j + SIMD_WIDTH <= grid_w || first + grid_w - j >= end;
    for (int l = 0; l < SIMD_WIDTH; l++) {
        int here = first + l < end;
        p->row[l] = here ? (int32_t)(i * step_h) : ABSENT;
        p->col[l] = here ? (int32_t)(j * step_w) : 0;
        if (++j == grid_w) { j = 0; i++; }
    }
    if (one_row) p->step = step_w <= 2 ? step_w : 0;
    else p->step = step_h == 1 && step_w == 1 && grid_w == in_w;
}

/* For each of the channels, the values at the pixels moved by (shift_h, shift_w), zero outside the plane:
 * to[c * pitch + lane]. x is the whole array of size elements, channel 0 starts at element plane. */
static void pixels_gather(const pixels *p, float *to, int64_t pitch, const float *x, int64_t size, int64_t plane, int64_t in_h,
                          int64_t in_w, int64_t channels, int64_t shift_h, int64_t shift_w)
{
    ivec row = *(const ivec_memory *)p->row + (int32_t)shift_h, col = *(const ivec_memory *)p->col + (int32_t)shift_w;
    ivec inside = (row >= 0) & (row < (int32_t)in_h) & (col >= 0) & (col < (int32_t)in_w);
    const int64_t area = in_h * in_w;
    const int64_t base = plane + (p->row[0] + shift_h) * in_w + p->col[0] + shift_w;
    const int64_t reach = p->step * SIMD_WIDTH;
    int32_t at[SIMD_WIDTH];
    *(ivec_memory *)at = (row & inside) * (int32_t)in_w + (col & inside);
    for (int64_t c = 0; c < channels; c++) {
        const int64_t start = base + c * area;
        vec v;
        if (p->step && start >= 0 && start + reach <= size) {
            const float *from = x + start;
            v = p->step == 1 ? load(from) : EVEN(load(from), load(from + SIMD_WIDTH));
        } else {
            const float *from = x + plane + c * area;
            float lanes[SIMD_WIDTH];
            UNROLL for (int l = 0; l < SIMD_WIDTH; l++) lanes[l] = from[at[l]];
            v = load(lanes);
        }
        store(to + c * pitch, keep(v, inside));
    }
}

#endif
