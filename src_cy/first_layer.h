/* The copy of rows of planes, with zeros around them. */
#ifndef NORMENGINE_FIRST_LAYER_H
#define NORMENGINE_FIRST_LAYER_H

#include "simd.h"

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
