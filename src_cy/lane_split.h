/* Lane-split accumulation: sums whose vectors span several input channels, where there are few output channels: lane i * span + k has, of output
 * channel i, the products with every input channel that is k modulo span. `span` is 2, or V: then a vector is all of one
 * output channel; or 1, where lanes are output channels. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_LANE_SPLIT_H
#define NORMENGINE_LANE_SPLIT_H

#include "reduce_lanes.h"
#include "simd.h"

typedef int64_t vec_pairs __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef int64_t pair_memory __attribute__((aligned(4), may_alias));

/* The `span` input channels at x, again and again. */
INLINE vec span_load(const int span, const float *x)
{
    if (span == SIMD_WIDTH) return load(x);
    if (span == 2) return (vec)(*(const pair_memory *)x - (vec_pairs){0});
    return splat(*x);
}

/* The lanes so many further on to the front, among each four. */
INLINE vec span_next(const int lanes, vec v)
{
    if (lanes == 2) return ACROSS_NEXT(ACROSS_NEXT(v));
    return ACROSS_NEXT(v);
}

/* The output channels of some pixels, of which each has `vectors` sums, `pitch` apart: they become the first lanes of the
 * first one. The other lanes have no meaning then. */
INLINE void span_join(const int span, const int pixels, const int vectors, const int pitch, vec *sum)
{
    if (span == 2)
        UNROLL for (int p = 0; p < pixels; p++) sum[p * pitch] = EVEN(sum[p * pitch], sum[p * pitch]) +
                                                                 ODD(sum[p * pitch], sum[p * pitch]);
    if (span != SIMD_WIDTH) return;
    const int together = 4 / vectors;
    UNROLL for (int p = 0; p < pixels; p++) {
        if (p % together) {
            sum[p * pitch] = span_next(vectors, sum[(p - 1) * pitch]);
            continue;
        }
        vec four[4];
        UNROLL for (int i = 0; i < 4; i++) {
            const int pixel = p + i / vectors;
            four[i] = i < together * vectors && pixel < pixels ? sum[pixel * pitch + i % vectors] : splat(0.0f);
        }
        sum[p * pitch] = across(four[0], four[1], four[2], four[3]);
    }
}

#endif
