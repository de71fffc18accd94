/* Between planes of pixels and one block of channels. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_REORDER_H
#define NORMENGINE_REORDER_H

#include "simd.h"

/* Where the square that follows the one at pixel i begins: the last of count pixels ends with them, and so may overlap the
 * one before it. */
INLINE int64_t next_square(int64_t i, int64_t count)
{
    if (i + 2 * SIMD_WIDTH <= count) return i + SIMD_WIDTH;
    return i + SIMD_WIDTH < count ? count - SIMD_WIDTH : count;
}

/* to[p * V + c] = planes[c * pitch + p] for count pixels and channels up to V, zeros behind them. */
static void planes_to_block(float *to, const float *planes, int64_t pitch, int64_t channels, int64_t count)
{
    if (count < SIMD_WIDTH) {
        for (int64_t p = 0; p < count; p++) {
            if (channels < SIMD_WIDTH) store(to + p * SIMD_WIDTH, splat(0.0f));
            for (int64_t c = 0; c < channels; c++) to[p * SIMD_WIDTH + c] = planes[c * pitch + p];
        }
        return;
    }
    if (channels == SIMD_WIDTH) {
        for (int64_t i = 0; i < count; i = next_square(i, count))
            transpose_square(to + i * SIMD_WIDTH, SIMD_WIDTH, planes + i, pitch);
        return;
    }
    float square[SIMD_WIDTH * SIMD_WIDTH] = {0};
    for (int64_t i = 0; i < count; i = next_square(i, count)) {
        for (int64_t c = 0; c < channels; c++) store(square + c * SIMD_WIDTH, load(planes + c * pitch + i));
        transpose_square(to + i * SIMD_WIDTH, SIMD_WIDTH, square, SIMD_WIDTH);
    }
}

/* planes[c * pitch + p] = block[p * V + c] for count pixels and the given channels. */
static void block_to_planes(float *planes, const float *block, int64_t pitch, int64_t channels, int64_t count)
{
    float square[SIMD_WIDTH * SIMD_WIDTH];
    if (count < SIMD_WIDTH) {
        for (int64_t c = 0; c < channels; c++)
            for (int64_t p = 0; p < count; p++) planes[c * pitch + p] = block[p * SIMD_WIDTH + c];
        return;
    }
    for (int64_t i = 0; i < count; i = next_square(i, count)) {
        if (channels == SIMD_WIDTH) {
            transpose_square(planes + i, pitch, block + i * SIMD_WIDTH, SIMD_WIDTH);
        } else {
            transpose_square(square, SIMD_WIDTH, block + i * SIMD_WIDTH, SIMD_WIDTH);
            for (int64_t c = 0; c < channels; c++) store(planes + c * pitch + i, load(square + c * SIMD_WIDTH));
        }
    }
}

#endif
