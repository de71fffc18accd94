/* What the CPU can do at most: how fast it reads and writes memory. */
#ifndef NORMENGINE_MACHINE_H
#define NORMENGINE_MACHINE_H

#include "simd.h"

/* to[i] = from[i] / 2: one array read, another one written, with the stores that the kernels use. */
static void memory_halve(float *to, const float *from, int64_t count)
{
    int64_t i = 0;
    for (; i + 4 * SIMD_WIDTH <= count; i += 4 * SIMD_WIDTH)
        UNROLL for (int j = 0; j < 4 * SIMD_WIDTH; j += SIMD_WIDTH) store(to + i + j, load(from + i + j) * 0.5f);
    for (; i < count; i++) to[i] = from[i] * 0.5f;
}

#endif
