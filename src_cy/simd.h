/* Vectors of float as wide as the instruction set that this file is compiled for, and what the kernels do with them.
 *
 * The GCC and Clang vector extensions are the only means: no intrinsics, so that one source serves every CPU. A pointer
 * to float may have any alignment of a float. Functions that take a count touch no element beyond it. */
#ifndef NORMENGINE_SIMD_H
#define NORMENGINE_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef __GNUC__
#error "the kernels need the vector extensions of GCC or Clang"
#endif

#ifndef SIMD_WIDTH
#if defined(__AVX512F__)
#define SIMD_WIDTH 16
#elif defined(__AVX__)
#define SIMD_WIDTH 8
#else
#define SIMD_WIDTH 4
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

typedef float vec __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef float vec_memory __attribute__((vector_size(4 * SIMD_WIDTH), aligned(4), may_alias));
typedef int32_t ivec_memory __attribute__((vector_size(4 * SIMD_WIDTH), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const vec_memory *)p; }
INLINE void store(float *p, vec v) { *(vec_memory *)p = v; }
INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec keep(vec v, ivec mask) { return (vec)((ivec)v & mask); }
INLINE vec choose(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }

/* All ones in the lanes first..end, zeros in the others. */
INLINE ivec lanes_between(int64_t first, int64_t end)
{
    const int32_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const ivec lane = *(const ivec_memory *)numbers;
    return (lane >= (int32_t)first) & (lane < (int32_t)end);
}

/* The sum of the lanes, halves first. */
INLINE float sum_lanes(vec v)
{
    float lanes[SIMD_WIDTH];
    store(lanes, v);
    UNROLL for (int width = SIMD_WIDTH / 2; width > 0; width /= 2)
        UNROLL for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

/* Lanes 0, 2, 4, ... of a then b; lanes 1, 3, 5, ...; and lanes a0 b0 a1 b1 ... of the lower and of the upper halves. */
#if SIMD_WIDTH == 16
#define EVEN(a, b) SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif SIMD_WIDTH == 8
#define EVEN(a, b) SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define EVEN(a, b) SHUFFLE(a, b, 0, 2, 4, 6)
#define ODD(a, b) SHUFFLE(a, b, 1, 3, 5, 7)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#endif

/* Lane r of v[c] becomes what lane c of v[r] was: each round of zips turns one bit of the number of a lane into one of the
 * number of a vector. */
INLINE void transpose_vectors(vec *v)
{
    vec z[SIMD_WIDTH];
    UNROLL for (int round = 1; round < SIMD_WIDTH; round *= 2) {
        UNROLL for (int r = 0; r < SIMD_WIDTH / 2; r++) {
            z[2 * r] = ZIP_LOW(v[r], v[r + SIMD_WIDTH / 2]);
            z[2 * r + 1] = ZIP_HIGH(v[r], v[r + SIMD_WIDTH / 2]);
        }
        UNROLL for (int r = 0; r < SIMD_WIDTH; r++) v[r] = z[r];
    }
}

/* to[c * to_pitch + r] = from[r * from_pitch + c] for a square block of SIMD_WIDTH. */
INLINE void transpose_square(float *to, int64_t to_pitch, const float *from, int64_t from_pitch)
{
    vec v[SIMD_WIDTH];
    UNROLL for (int r = 0; r < SIMD_WIDTH; r++) v[r] = load(from + r * from_pitch);
    transpose_vectors(v);
    UNROLL for (int r = 0; r < SIMD_WIDTH; r++) store(to + r * to_pitch, v[r]);
}

/* to[c * to_pitch + r] = from[r * from_pitch + c], and zeros for r from rows up to width. */
static void transpose(float *to, int64_t to_pitch, int64_t width, const float *from, int64_t from_pitch, int64_t rows,
                      int64_t cols)
{
    for (int64_t r = 0; r < width; r += SIMD_WIDTH) {
        int64_t c = 0;
        if (r + SIMD_WIDTH <= rows)
            for (; c + SIMD_WIDTH <= cols; c += SIMD_WIDTH)
                transpose_square(to + c * to_pitch + r, to_pitch, from + r * from_pitch + c, from_pitch);
        for (int64_t i = r; i < r + SIMD_WIDTH && i < width; i++)
            for (int64_t j = c; j < cols; j++) to[j * to_pitch + i] = i < rows ? from[i * from_pitch + j] : 0.0f;
    }
}

#endif
