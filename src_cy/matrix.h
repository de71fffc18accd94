/* The register tiles of matrix products: of rows and columns that are contiguous along the sum (dot products), and of
 * columns in vectors beside single values of the rows (outer products). */
#ifndef NORMENGINE_MATRIX_H
#define NORMENGINE_MATRIX_H

#include "simd.h"
#include "tile.h"

#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define DOT_ROWS 6
#define OUTER_TILE_ROWS 6
#define OUTER_TILE_VECTORS 4
#else
#define DOT_ROWS 3
#define OUTER_TILE_ROWS (SIMD_WIDTH == 8 ? 6 : 5)
#define OUTER_TILE_VECTORS 2
#endif
#define DOT_COLS 4
/* Vectors of a tile of few rows: contiguous values to read, and sums enough to hide the latency of a multiply-add. */
#define OUTER_WIDE_VECTORS(ROWS) ((ROWS) == 1 ? 12 : (ROWS) == 2 ? 6 : 4)
#define OUTER_WIDE_ROWS 3
#define OUTER_MOST_VECTORS 12

typedef float quad __attribute__((vector_size(16)));
typedef int32_t iquad __attribute__((vector_size(16)));
typedef float quad_memory __attribute__((vector_size(16), aligned(4), may_alias));

/* What a sum is added to and becomes: it starts a result with `first`, else is added to the one that is there; with `last`
 * that is y = clamp(sum + bias). bias may be NULL. */
typedef struct {
    const float *bias;
    float low, high;
    int32_t first, last;
} matrix_finish;

/* Lanes a0 b0 a1 b1 of each four lanes, a2 b2 a3 b3, a0 a1 b0 b1 and a2 a3 b2 b3. */
#if SIMD_WIDTH == 16
#define ZIP4_LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define ZIP4_HIGH(a, b) SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define PAIR4_LOW(a, b) SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define PAIR4_HIGH(a, b) SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#elif SIMD_WIDTH == 8
#define ZIP4_LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define ZIP4_HIGH(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIR4_LOW(a, b) SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIR4_HIGH(a, b) SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define ZIP4_LOW(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define ZIP4_HIGH(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define PAIR4_LOW(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define PAIR4_HIGH(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#endif

/* The sums of the lanes of four vectors. */
INLINE quad sum_lanes_4(vec a, vec b, vec c, vec d)
{
    const vec ab = ZIP4_LOW(a, b) + ZIP4_HIGH(a, b), cd = ZIP4_LOW(c, d) + ZIP4_HIGH(c, d);
    const vec v = PAIR4_LOW(ab, cd) + PAIR4_HIGH(ab, cd);
    quad sum = {v[0], v[1], v[2], v[3]};
    UNROLL for (int i = 4; i < SIMD_WIDTH; i += 4) sum += (quad){v[i], v[i + 1], v[i + 2], v[i + 3]};
    return sum;
}

INLINE quad quad_clamp(quad v, float low, float high)
{
    const quad lows = low - (quad){0}, highs = high - (quad){0};
    const iquad under = v < lows, over = v > highs;
    v = (quad)(((iquad)lows & under) | ((iquad)v & ~under));
    return (quad)(((iquad)highs & over) | ((iquad)v & ~over));
}

/* out[r][j] = sum over k < depth of a[r * a_pitch + k] * b[j * b_pitch + k] for rows and cols; the V values that end at
 * a[depth] and at b[depth] can be read even where depth is less. */
INLINE void dot_tile(const int rows, const int cols, int64_t depth, const float *a, int64_t a_pitch, const float *b,
                     int64_t b_pitch, float *out, int64_t out_pitch, const matrix_finish *finish)
{
    vec sum[DOT_ROWS][DOT_COLS];
    const float *left[DOT_ROWS], *right[DOT_COLS];
    UNROLL for (int r = 0; r < rows; r++) left[r] = a + r * a_pitch;
    UNROLL for (int j = 0; j < cols; j++) right[j] = b + j * b_pitch;
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < DOT_COLS; j++) sum[r][j] = splat(0.0f);
    const int64_t whole = depth - depth % SIMD_WIDTH;
    for (int64_t k = 0; k < whole; k += SIMD_WIDTH) {
        vec held[DOT_ROWS];
        UNROLL for (int r = 0; r < rows; r++) held[r] = load(left[r] + k);
        UNROLL for (int j = 0; j < cols; j++) {
            const vec column = load(right[j] + k);
            UNROLL for (int r = 0; r < rows; r++) {
                sum[r][j] += held[r] * column;
                TILE_ORDER(sum[r][j], held[r], column);
            }
        }
    }
    if (whole < depth) {
        const ivec last = lanes_between(whole + SIMD_WIDTH - depth, SIMD_WIDTH);
        UNROLL for (int j = 0; j < cols; j++) {
            const vec column = keep(load(right[j] + depth - SIMD_WIDTH), last);
            UNROLL for (int r = 0; r < rows; r++) sum[r][j] += keep(load(left[r] + depth - SIMD_WIDTH), last) * column;
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        float *to = out + r * out_pitch;
        quad v = sum_lanes_4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]), there = {0}, bias = {0};
        if (!finish->first) UNROLL for (int j = 0; j < cols; j++) there[j] = to[j];
        v += there;
        if (finish->last) {
            if (finish->bias) UNROLL for (int j = 0; j < cols; j++) bias[j] = finish->bias[j];
            v = quad_clamp(v + bias, finish->low, finish->high);
        }
        if (cols == DOT_COLS)
            *(quad_memory *)to = v;
        else
            UNROLL for (int j = 0; j < cols; j++) to[j] = v[j];
    }
}

#define DOT_CASE(R, C)                                                                                              \
    case DOT_COLS * R + C - 1: dot_tile(R, C, depth, a, a_pitch, b, b_pitch, out, out_pitch, finish); break;
#define DOT_CASES(R) DOT_CASE(R, 1) DOT_CASE(R, 2) DOT_CASE(R, 3) DOT_CASE(R, 4)

static void dot(int64_t rows, int64_t cols, int64_t depth, const float *a, int64_t a_pitch, const float *b,
                int64_t b_pitch, float *out, int64_t out_pitch, const matrix_finish *finish)
{
    switch (DOT_COLS * rows + cols - 1) {
        DOT_CASES(1) DOT_CASES(2) DOT_CASES(3)
#if DOT_ROWS == 6
        DOT_CASES(4) DOT_CASES(5) DOT_CASES(6)
#endif
    }
}

/* out[r][j] = sum over k < depth of a[r * a_row + k * a_step] * b[k * b_pitch + j], for j in the given vectors. */
INLINE void outer_tile(const int rows, const int vectors, int64_t depth, const float *a, int64_t a_row,
                       const int64_t a_step, const float *b, int64_t b_pitch, float *out, int64_t out_pitch,
                       const matrix_finish *finish)
{
    vec sum[OUTER_TILE_ROWS][OUTER_MOST_VECTORS];
    const float *left[OUTER_TILE_ROWS];
    UNROLL for (int r = 0; r < rows; r++) left[r] = a + r * a_row;
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++) sum[r][j] = splat(0.0f);
    for (int64_t k = 0; k < depth; k++, b += b_pitch) {
        if (vectors > 4) {
            vec values[OUTER_TILE_ROWS];
            UNROLL for (int r = 0; r < rows; r++) values[r] = splat(left[r][k * a_step]);
            UNROLL for (int j = 0; j < vectors; j++) {
                const vec right = load(b + j * SIMD_WIDTH);
                UNROLL for (int r = 0; r < rows; r++) {
                    sum[r][j] += right * values[r];
                    TILE_ORDER(sum[r][j], right, values[r]);
                }
            }
        } else {
            vec right[4];
            UNROLL for (int j = 0; j < vectors; j++) right[j] = load(b + j * SIMD_WIDTH);
            UNROLL for (int r = 0; r < rows; r++) {
                const vec value = splat(left[r][k * a_step]);
                UNROLL for (int j = 0; j < vectors; j++) {
                    sum[r][j] += right[j] * value;
                    TILE_ORDER(sum[r][j], right[j], value);
                }
            }
        }
    }
    if (!finish->first)
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int j = 0; j < vectors; j++) sum[r][j] += load(out + r * out_pitch + j * SIMD_WIDTH);
    if (finish->last) {
        if (finish->bias)
            UNROLL for (int j = 0; j < vectors; j++) {
                const vec bias = load(finish->bias + j * SIMD_WIDTH);
                UNROLL for (int r = 0; r < rows; r++) sum[r][j] += bias;
            }
        if (finish->low > -INFINITY) {
            const vec low = splat(finish->low);
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int j = 0; j < vectors; j++) sum[r][j] = choose(sum[r][j] < low, low, sum[r][j]);
        }
        if (finish->high < INFINITY) {
            const vec high = splat(finish->high);
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int j = 0; j < vectors; j++) sum[r][j] = choose(sum[r][j] > high, high, sum[r][j]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++) store(out + r * out_pitch + j * SIMD_WIDTH, sum[r][j]);
}

#define OUTER_ARGS                                                                                                  \
    int64_t rows, int64_t vectors, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b,    \
        int64_t b_pitch, float *out, int64_t out_pitch, const matrix_finish *finish
#define OUTER_CASE(R, J, A_ROW, A_STEP)                                                                             \
    case 16 * R + J: outer_tile(R, J, depth, a, A_ROW, A_STEP, b, b_pitch, out, out_pitch, finish); break;
#define OUTER_CASES_2(R, S, T) OUTER_CASE(R, 1, S, T) OUTER_CASE(R, 2, S, T)
#if OUTER_TILE_VECTORS == 4
#define OUTER_CASES(R, S, T) OUTER_CASES_2(R, S, T) OUTER_CASE(R, 3, S, T) OUTER_CASE(R, 4, S, T)
#else
#define OUTER_CASES(R, S, T) OUTER_CASES_2(R, S, T)
#endif
#if OUTER_TILE_ROWS == 6
#define OUTER_MORE_CASES(S, T) OUTER_CASES(6, S, T)
#else
#define OUTER_MORE_CASES(S, T)
#endif
#if OUTER_TILE_VECTORS == 4
#define OUTER_WIDE_CASES(S, T) OUTER_CASE(1, 12, S, T) OUTER_CASE(2, 6, S, T)
#else
#define OUTER_WIDE_CASES(S, T) OUTER_CASE(1, 12, S, T) OUTER_CASE(2, 6, S, T) OUTER_CASE(3, 4, S, T)
#endif
#define OUTER_FUNCTION(NAME, A_ROW, A_STEP)                                                                         \
    static void NAME(OUTER_ARGS)                                                                                    \
    {                                                                                                               \
        switch (16 * rows + vectors) {                                                                              \
            OUTER_CASES(1, A_ROW, A_STEP) OUTER_CASES(2, A_ROW, A_STEP) OUTER_CASES(3, A_ROW, A_STEP)               \
            OUTER_CASES(4, A_ROW, A_STEP) OUTER_CASES(5, A_ROW, A_STEP) OUTER_MORE_CASES(A_ROW, A_STEP)             \
            OUTER_WIDE_CASES(A_ROW, A_STEP)                                                                         \
        }                                                                                                           \
    }

/* Rows of the left factor lie a_row apart, their values side by side; and its columns, a_step apart. */
OUTER_FUNCTION(outer_rows, a_row, 1)
OUTER_FUNCTION(outer_columns, 1, a_step)

#endif
