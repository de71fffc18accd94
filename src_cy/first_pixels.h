/* Convolution of planes into one block of fewer channels than a vector has lanes: vectors are neighbouring pixels of one
 * output channel, and change places with the channels at the end. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_FIRST_PIXELS_H
#define NORMENGINE_FIRST_PIXELS_H

#include "conv_microkernel.h"

/* The most output channels. */
#define FIRST_CHANNELS (SIMD_WIDTH / 2)
/* Sums in registers, beside which there is room for their factors; and the vectors of pixels beside C channels. */
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define FIRST_SUMS 24
#else
#define FIRST_SUMS 9
#endif
#define FIRST_MOST_VECTORS 4
#define FIRST_VECTORS(C) (FIRST_SUMS / (C) > FIRST_MOST_VECTORS ? FIRST_MOST_VECTORS : FIRST_SUMS / (C))

/* Up to V neighbouring pixels: where they are read and where they go, in floats. */
typedef struct {
    int64_t source, target, count;
} first_pixels;

/* Runs of pixels, one for each vector, of which the first `kept` are stored. `taps` are `depth` distances from a
 * pixel's input, w has a value for each of them and each channel. V values behind each input can be read. */
INLINE void first_pixel_tile(const int channels, const int vectors, const first_pixels *const *at, int kept,
                             int64_t depth, const int64_t *taps, const float *x, const float *w, float *out,
                             int accumulate, const tile_finish *finish, prefetcher *next)
{
    vec sum[FIRST_CHANNELS][FIRST_MOST_VECTORS], in[FIRST_MOST_VECTORS];
    const float *row[FIRST_MOST_VECTORS];
    int64_t target[SIMD_WIDTH];
    prefetch_step(next, channels * vectors * depth);
    UNROLL for (int v = 0; v < vectors; v++) row[v] = x + at[v]->source;
    UNROLL for (int c = 0; c < channels; c++)
        UNROLL for (int v = 0; v < vectors; v++) sum[c][v] = splat(0.0f);
    for (int64_t t = 0; t < depth; t++, w += channels) {
        UNROLL for (int v = 0; v < vectors; v++) in[v] = load(row[v] + taps[t]);
        UNROLL for (int c = 0; c < channels; c++) {
            const vec weight = splat(w[c]);
            UNROLL for (int v = 0; v < vectors; v++) {
                sum[c][v] += in[v] * weight;
                TILE_ORDER(sum[c][v], in[v], weight);
            }
        }
    }
    UNROLL for (int p = 0; p < SIMD_WIDTH; p++) target[p] = p * SIMD_WIDTH;
    UNROLL for (int v = 0; v < vectors; v++) {
        if (v >= kept) break;
        vec pixel[SIMD_WIDTH], made[SIMD_WIDTH][TILE_VECTORS];
        UNROLL for (int c = 0; c < SIMD_WIDTH; c++) pixel[c] = c < channels ? sum[c][v] : splat(0.0f);
        transpose_vectors(pixel);
        tile_finish here = finish ? *finish : (tile_finish){0};
        if (here.residual) here.residual += at[v]->target;
        if (at[v]->count == SIMD_WIDTH) {
            UNROLL for (int p = 0; p < SIMD_WIDTH; p++) made[p][0] = pixel[p];
            tile_store(SIMD_WIDTH, 1, made, out + at[v]->target, target, 0, accumulate, finish ? &here : 0);
        } else {
            float pixels[SIMD_WIDTH * SIMD_WIDTH];
            UNROLL for (int p = 0; p < SIMD_WIDTH; p++) store(pixels + p * SIMD_WIDTH, pixel[p]);
            for (int64_t p = 0; p < at[v]->count; p++) {
                made[0][0] = load(pixels + p * SIMD_WIDTH);
                tile_store(1, 1, made, out + at[v]->target, target + p, 0, accumulate, finish ? &here : 0);
            }
        }
    }
}

/* All of `count` runs of pixels. */
INLINE void first_pixel_tiles(const int channels, const first_pixels *at, int64_t count, int64_t depth,
                              const int64_t *taps, const float *x, const float *w, float *out, int accumulate,
                              const tile_finish *finish, prefetcher *next)
{
    const int vectors = FIRST_VECTORS(channels);
    for (int64_t i = 0; i < count; i += vectors) {
        const int64_t left = count - i;
        const first_pixels *now[FIRST_MOST_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) now[v] = at + (v < left ? i + v : i);
        first_pixel_tile(channels, vectors, now, left < vectors ? left : vectors, depth, taps, x, w, out, accumulate,
                         finish, next);
    }
}

static void first_few_channels(int64_t channels, const first_pixels *at, int64_t count, int64_t depth,
                               const int64_t *taps, const float *x, const float *w, float *out, int accumulate,
                               const tile_finish *finish, prefetcher *next)
{
#define CASE(C)                                                                                                       \
    case C:                                                                                                           \
        if (C <= FIRST_CHANNELS)                                                                                      \
            first_pixel_tiles(C <= FIRST_CHANNELS ? C : 1, at, count, depth, taps, x, w, out, accumulate, finish,     \
                              next);                                                                                  \
        break;
    switch (channels) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
#undef CASE
}

#endif
