/* The register tile that every matrix product and dense convolution is made of. */
#ifndef NORMENGINE_PRODUCT_H
#define NORMENGINE_PRODUCT_H

#include "simd.h"

/* The distance between two rows of a panel that holds the left factor row by row; a constant, so that the rows need no
 * pointers of their own. */
#define PANEL_PIXELS 256
#define PANEL_PITCH (PANEL_PIXELS + 16)

/* Sums are taken in runs of this many terms, then over the runs: rounding errors grow with the run and the number of runs
 * instead of with the whole depth (Higham, The accuracy of floating point summation, 1993). */
#define RUN 32

/* out[r][j] = start + sum over k < depth of a[r * a_row + k * a_step] * b[k * TILE_COLS + j], for r < rows and j in the
 * given number of vectors; start is out[r][j] itself where accumulate is set, else bias[r], else (bias NULL) 0. */
INLINE void product(const int rows, const int vectors, const int64_t a_row, const int64_t a_step, int64_t depth,
                    const float *a, const float *b, float *out, int64_t out_pitch, const float *bias,
                    int64_t accumulate)
{
    vec total[TILE_ROWS][2];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++)
            total[r][j] = accumulate ? load(out + r * out_pitch + j * SIMD_WIDTH) : splat(bias ? bias[r] : 0.0f);
    for (int64_t first = 0; first < depth; first += RUN) {
        const int64_t end = first + RUN < depth ? first + RUN : depth;
        vec sum[TILE_ROWS][2];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int j = 0; j < vectors; j++) sum[r][j] = splat(0.0f);
        for (int64_t k = first; k < end; k++) {
            vec right[2];
            UNROLL for (int j = 0; j < vectors; j++) right[j] = load(b + k * TILE_COLS + j * SIMD_WIDTH);
            UNROLL for (int r = 0; r < rows; r++) {
                float left = a[r * a_row + k * a_step];
                UNROLL for (int j = 0; j < vectors; j++) sum[r][j] += right[j] * left;
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int j = 0; j < vectors; j++) total[r][j] += sum[r][j];
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++) store(out + r * out_pitch + j * SIMD_WIDTH, total[r][j]);
}

#define PRODUCT_CASE(R, A_ROW, A_STEP)                                                                              \
    case 2 * R: product(R, 1, A_ROW, A_STEP, depth, a, b, out, out_pitch, bias, accumulate); break;                 \
    case 2 * R + 1: product(R, 2, A_ROW, A_STEP, depth, a, b, out, out_pitch, bias, accumulate); break;
#if TILE_ROWS > 6
#define PRODUCT_CASES(S, T)                                                                                         \
    PRODUCT_CASE(1, S, T) PRODUCT_CASE(2, S, T) PRODUCT_CASE(3, S, T) PRODUCT_CASE(4, S, T) PRODUCT_CASE(5, S, T)   \
    PRODUCT_CASE(6, S, T) PRODUCT_CASE(7, S, T) PRODUCT_CASE(8, S, T) PRODUCT_CASE(9, S, T) PRODUCT_CASE(10, S, T)  \
    PRODUCT_CASE(11, S, T) PRODUCT_CASE(12, S, T) PRODUCT_MORE_CASES(S, T)
#if TILE_ROWS > 12
#define PRODUCT_MORE_CASES(S, T) PRODUCT_CASE(13, S, T) PRODUCT_CASE(14, S, T)
#else
#define PRODUCT_MORE_CASES(S, T)
#endif
#elif TILE_ROWS == 6
#define PRODUCT_CASES(S, T)                                                                                         \
    PRODUCT_CASE(1, S, T) PRODUCT_CASE(2, S, T) PRODUCT_CASE(3, S, T) PRODUCT_CASE(4, S, T) PRODUCT_CASE(5, S, T)   \
    PRODUCT_CASE(6, S, T)
#else
#define PRODUCT_CASES(S, T)                                                                                         \
    PRODUCT_CASE(1, S, T) PRODUCT_CASE(2, S, T) PRODUCT_CASE(3, S, T) PRODUCT_CASE(4, S, T) PRODUCT_CASE(5, S, T)
#endif

/* The left factor packed [depth][TILE_ROWS]. */
static void product_packed(int64_t rows, int64_t vectors, int64_t depth, const float *a, const float *b, float *out,
                           int64_t out_pitch, const float *bias, int64_t accumulate)
{
    switch (2 * rows + vectors - 1) { PRODUCT_CASES(1, TILE_ROWS) }
}

/* The left factor as rows of a panel, [rows][PANEL_PITCH]; no bias. */
static void product_rows(int64_t rows, int64_t depth, const float *a, const float *b, float *out, int64_t out_pitch,
                         int64_t accumulate)
{
    const int64_t vectors = 2;
    const float *bias = 0;
    switch (2 * rows + vectors - 1) { PRODUCT_CASES(PANEL_PITCH, 1) }
}

/* Multiply-adds on TILE_ROWS * 2 vectors that never leave the registers, rounds times; returns what keeps them. */
static float fma_rounds(int64_t rounds)
{
    vec sum[TILE_ROWS * 2], factor = splat(0.999f), term = splat(1e-6f);
    UNROLL for (int i = 0; i < TILE_ROWS * 2; i++) sum[i] = splat(0.1f * i);
    for (int64_t n = 0; n < rounds; n++) {
        __asm__ volatile("" ::: "memory");
        UNROLL for (int i = 0; i < TILE_ROWS * 2; i++) sum[i] = sum[i] * factor + term;
    }
    UNROLL for (int i = 1; i < TILE_ROWS * 2; i++) sum[0] += sum[i];
    return sum_lanes(sum[0]);
}

#endif
