/* Convolution of images with few channels, which lie in planes: every tap of every channel is a step of one reduction,
 * for a tile of pixels times some vectors of output channels. */
#ifndef NORMENGINE_FIRST_LAYER_H
#define NORMENGINE_FIRST_LAYER_H

#include "simd.h"

/* The most vectors of output channels of a tile, and the pixels of a tile of so many vectors. Each pixel has an address
 * of its own, so that a tile may go over the end of a row. */
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define FIRST_VECTORS 4
#define FIRST_TILES(TILE) TILE(1, 8) TILE(2, 8) TILE(3, 8) TILE(4, 6)
#elif SIMD_WIDTH == 8
#define FIRST_VECTORS 3
#define FIRST_TILES(TILE) TILE(1, 8) TILE(2, 6) TILE(3, 4)
#else
#define FIRST_VECTORS 3
#define FIRST_TILES(TILE) TILE(1, 8) TILE(2, 5) TILE(3, 3)
#endif
#define FIRST_PIXELS 8
/* The most pixels of a tile of one vector that stays in its row, where they lie next to each other: one address serves
 * them all, so that there are more of them where registers allow it. */
#if SIMD_WIDTH == 16
#define FIRST_ROW_PIXELS 16
#else
#define FIRST_ROW_PIXELS 8
#endif
#define FIRST_MOST_PIXELS 16

/* Pixels of a tile of so many vectors. */
static int64_t first_tile_pixels(int64_t vectors)
{
#define FIRST_CASE(VECTORS, TILE)                                                                                   \
    case VECTORS: return TILE;
    switch (vectors) { FIRST_TILES(FIRST_CASE) }
#undef FIRST_CASE
    return 0;
}

/* Sums of more terms are taken in runs of so many: rounding errors grow with the run and the number of runs. */
#define FIRST_RUN 192

/* What the tiles of a panel of output channels have in common. ``out`` and ``residual`` hold vector b of a pixel b *
 * plane floats behind its first; a value is clamp(sum + bias + residual), zero in lanes that are no channel. */
typedef struct {
    int64_t depth, plane;
    const int64_t *taps;    /* bytes from a pixel's address to its value for each step of the reduction */
    const float *weights;   /* [depth][vectors * SIMD_WIDTH] */
    float bias[FIRST_VECTORS * SIMD_WIDTH];
    float total[FIRST_PIXELS * FIRST_VECTORS * SIMD_WIDTH];   /* of a tile, between runs */
    float low, high;
    int64_t from_below, from_above;
    int64_t channels;       /* of the panel's lanes */
} first_panel;

/* Sets everything but depth, plane, taps and weights; ``bias`` points to that of the panel's channels or is NULL. */
static void first_finish(first_panel *p, const float *bias, double low, double high, int64_t channels)
{
    for (int64_t i = 0; i < FIRST_VECTORS * SIMD_WIDTH; i++) p->bias[i] = bias && i < channels ? bias[i] : 0.0f;
    p->low = (float)low;
    p->high = (float)high;
    p->from_below = low > -INFINITY;
    p->from_above = high < INFINITY;
    p->channels = channels;
}

/* The first ``count`` of a tile's pixels, whose addresses are band + pixels[i] bytes; with ``row``, all of them, next to
 * each other. */
INLINE void first_tile(const int row, const int tile, const int vectors, first_panel *p, const char *band, const int32_t *pixels,
                       int64_t count, float *out, const float *residual)
{
    const char *x[FIRST_MOST_PIXELS];
    vec sum[FIRST_MOST_PIXELS][FIRST_VECTORS];
    const float *weights = p->weights;
    UNROLL for (int i = 0; i < tile; i++) x[i] = band + pixels[row ? 0 : i];
    UNROLL for (int b = 0; b < vectors; b++) {
        const vec bias = load(p->bias + b * SIMD_WIDTH);
        UNROLL for (int i = 0; i < tile; i++) sum[i][b] = bias;
    }
    for (int64_t k = 0, end;; k = end) {
        end = p->depth - k <= FIRST_RUN ? p->depth : k + FIRST_RUN;
        for (int64_t step = k; step < end; step++, weights += vectors * SIMD_WIDTH) {
            const int64_t tap = p->taps[step];
            vec w[FIRST_VECTORS];
            UNROLL for (int b = 0; b < vectors; b++) w[b] = load(weights + b * SIMD_WIDTH);
            UNROLL for (int i = 0; i < tile; i++) {
                const float value = ((const float *)(x[i] + tap))[row ? i : 0];
                UNROLL for (int b = 0; b < vectors; b++) sum[i][b] += w[b] * value;
            }
        }
        if (k > 0)
            UNROLL for (int i = 0; i < tile; i++)
                UNROLL for (int b = 0; b < vectors; b++) sum[i][b] += load(p->total + (i * vectors + b) * SIMD_WIDTH);
        if (end == p->depth) break;
        UNROLL for (int i = 0; i < tile; i++)
            UNROLL for (int b = 0; b < vectors; b++) {
                store(p->total + (i * vectors + b) * SIMD_WIDTH, sum[i][b]);
                sum[i][b] = splat(0.0f);
            }
    }
    if (residual) {
        UNROLL for (int i = 0; i < tile; i++)
            if (row || i < count)
                UNROLL for (int b = 0; b < vectors; b++) sum[i][b] += load(residual + b * p->plane + i * SIMD_WIDTH);
    }
    if (p->from_below)
        UNROLL for (int i = 0; i < tile; i++)
            UNROLL for (int b = 0; b < vectors; b++) sum[i][b] = choose(sum[i][b] < p->low, splat(p->low), sum[i][b]);
    if (p->from_above)
        UNROLL for (int i = 0; i < tile; i++)
            UNROLL for (int b = 0; b < vectors; b++) sum[i][b] = choose(sum[i][b] > p->high, splat(p->high), sum[i][b]);
    if (p->channels < vectors * SIMD_WIDTH) {
        const ivec lanes = lanes_between(0, p->channels - (vectors - 1) * SIMD_WIDTH);
        UNROLL for (int i = 0; i < tile; i++) sum[i][vectors - 1] = keep(sum[i][vectors - 1], lanes);
    }
    UNROLL for (int i = 0; i < tile; i++)
        if (row || i < count)
            UNROLL for (int b = 0; b < vectors; b++) store(out + b * p->plane + i * SIMD_WIDTH, sum[i][b]);
}

/* ``count`` pixels of a panel of so many vectors. Behind them, ``pixels`` holds addresses for the rest of the last tile. */
static void first_pixels(int64_t vectors, first_panel *p, const float *band, const int32_t *pixels, int64_t count,
                         float *out, const float *residual)
{
#define FIRST_CASE(VECTORS, TILE)                                                                                   \
    case VECTORS: {                                                                                                 \
        int64_t i = 0;                                                                                              \
        for (; i + TILE <= count; i += TILE)                                                                        \
            first_tile(0, TILE, VECTORS, p, (const char *)band, pixels + i, TILE, out + i * SIMD_WIDTH,                \
                       residual ? residual + i * SIMD_WIDTH : 0);                                                   \
        if (i < count)                                                                                              \
            first_tile(0, TILE, VECTORS, p, (const char *)band, pixels + i, count - i, out + i * SIMD_WIDTH,           \
                       residual ? residual + i * SIMD_WIDTH : 0);                                                   \
        break;                                                                                                      \
    }
    switch (vectors) { FIRST_TILES(FIRST_CASE) }
#undef FIRST_CASE
}

/* Whether tiles that stay in rows of so many pixels have more of them than others. */
static int first_by_rows(int64_t vectors, int64_t width)
{
    return vectors == 1 && width > (width + FIRST_ROW_PIXELS - 1) / FIRST_ROW_PIXELS * first_tile_pixels(vectors);
}

/* ``rows`` rows of ``width`` pixels that lie next to each other, of one vector: tiles of nearly equal size. */
static void first_rows(first_panel *p, const float *band, const int32_t *pixels, int64_t rows, int64_t width, float *out,
                       const float *residual)
{
#define FIRST_CASE(SIZE)                                                                                            \
    case SIZE: first_tile(1, SIZE, 1, p, (const char *)band, pixels, SIZE, out, residual); break;
    const int64_t tiles = (width + FIRST_ROW_PIXELS - 1) / FIRST_ROW_PIXELS;
    for (int64_t t = 0; t < rows * tiles; t++) {
        const int64_t size = width / tiles + (t % tiles < width % tiles);
        switch (size) {
            FIRST_CASE(8) FIRST_CASE(9) FIRST_CASE(10) FIRST_CASE(11) FIRST_CASE(12) FIRST_CASE(13) FIRST_CASE(14)
            FIRST_CASE(15) FIRST_CASE(16)
        }
        pixels += size;
        out += size * SIMD_WIDTH;
        if (residual) residual += size * SIMD_WIDTH;
    }
#undef FIRST_CASE
}

INLINE void first_zeros(float *to, int64_t count)
{
    for (int64_t j = 0; j < count; j += SIMD_WIDTH) store(to + j, splat(0.0f));
}

/* Rows of ``pitch`` values that hold ``count`` of from[i * from_pitch] behind ``left`` zeros, and zeros behind them. Up to
 * a vector behind the last row may become zeros too. */
static void first_copy(float *to, int64_t pitch, int64_t left, const float *from, int64_t from_pitch, int64_t rows,
                       int64_t count)
{
    for (int64_t i = 0; i < rows; i++, to += pitch, from += from_pitch) {
        first_zeros(to, left);
        if (count >= SIMD_WIDTH) {
            for (int64_t j = 0; j < count - SIMD_WIDTH; j += SIMD_WIDTH) store(to + left + j, load(from + j));
            store(to + left + count - SIMD_WIDTH, load(from + count - SIMD_WIDTH));
        } else
            for (int64_t j = 0; j < count; j++) to[left + j] = from[j];
        first_zeros(to + left + count, pitch - left - count);
    }
}

#endif
