/* What the CPU can do at most: how fast it reads and writes memory. */
#ifndef NORMENGINE_MACHINE_H
#define NORMENGINE_MACHINE_H

#include "simd.h"

/* Sums at a time: enough to hide the latency of a multiply-add, in registers beside its two factors. */
#if SIMD_WIDTH == 16
#define FMA_SUMS 28
#elif defined(__aarch64__)
#define FMA_SUMS 24
#else
#define FMA_SUMS 12
#endif

/* Multiply-adds on FMA_SUMS vectors that never leave the registers, rounds times; returns what keeps them. */
static float fma_rounds(int64_t rounds)
{
    vec sum[FMA_SUMS], factor = splat(0.999f), term = splat(1e-6f);
    UNROLL for (int i = 0; i < FMA_SUMS; i++) sum[i] = splat(0.1f * i);
    for (int64_t n = 0; n < rounds; n++) {
        __asm__ volatile("" ::: "memory");
        UNROLL for (int i = 0; i < FMA_SUMS; i++) sum[i] = sum[i] * factor + term;
    }
    UNROLL for (int i = 1; i < FMA_SUMS; i++) sum[0] += sum[i];
    return sum_lanes(sum[0]);
}

/* to[i] = from[i] / 2: one array read, another one written, with the stores that the kernels use. */
static void memory_halve(float *to, const float *from, int64_t count)
{
    int64_t i = 0;
    for (; i + 4 * SIMD_WIDTH <= count; i += 4 * SIMD_WIDTH)
        UNROLL for (int j = 0; j < 4 * SIMD_WIDTH; j += SIMD_WIDTH) store(to + i + j, load(from + i + j) * 0.5f);
    for (; i < count; i++) to[i] = from[i] * 0.5f;
}

#endif
