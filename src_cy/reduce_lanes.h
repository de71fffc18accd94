/* Sums across the lanes of vectors. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_REDUCE_LANES_H
#define NORMENGINE_REDUCE_LANES_H

#include "simd.h"

#if SIMD_WIDTH == 16
#define ACROSS_LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define ACROSS_HIGH(a, b) SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define ACROSS_EVEN(a, b) SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define ACROSS_ODD(a, b) SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define ACROSS_NEXT(a) SHUFFLE(a, a, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12)
#define ACROSS_FOURS(a) SHUFFLE(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define ACROSS_HALVES(a) SHUFFLE(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#elif SIMD_WIDTH == 8
#define ACROSS_LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define ACROSS_HIGH(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define ACROSS_EVEN(a, b) SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define ACROSS_ODD(a, b) SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define ACROSS_NEXT(a) SHUFFLE(a, a, 1, 2, 3, 0, 5, 6, 7, 4)
#define ACROSS_FOURS(a) SHUFFLE(a, a, 4, 5, 6, 7, 0, 1, 2, 3)
#else
#define ACROSS_LOW(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define ACROSS_HIGH(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define ACROSS_EVEN(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define ACROSS_ODD(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#define ACROSS_NEXT(a) SHUFFLE(a, a, 1, 2, 3, 0)
#endif

/* In each four lanes the sums of such four of a, b, c and d. */
INLINE vec across_fours(vec a, vec b, vec c, vec d)
{
    const vec ab = ACROSS_LOW(a, b) + ACROSS_HIGH(a, b), cd = ACROSS_LOW(c, d) + ACROSS_HIGH(c, d);
    return ACROSS_EVEN(ab, cd) + ACROSS_ODD(ab, cd);
}

/* In each four lanes the sums of all lanes of a, b, c and d. */
INLINE vec across(vec a, vec b, vec c, vec d)
{
    vec sum = across_fours(a, b, c, d);
#if SIMD_WIDTH == 16
    sum += ACROSS_HALVES(sum);
#endif
#if SIMD_WIDTH >= 8
    sum += ACROSS_FOURS(sum);
#endif
    return sum;
}

#endif
