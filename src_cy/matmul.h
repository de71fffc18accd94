/* The register tiles of matrix products, and the copies that they read. */
#ifndef NORMENGINE_MATMUL_H
#define NORMENGINE_MATMUL_H

#include "reduce_lanes.h"
#include "simd.h"

/* A tile of sums is MATRIX_ROWS rows at most beside MATRIX_VECTORS(rows) vectors: enough independent sums to hide the
 * latency of a multiply-add, in few enough registers that the vectors and a broadcast value remain. */
#define MATRIX_ROWS 6
#define MATRIX_MOST_VECTORS 8
#if SIMD_WIDTH == 16 || defined(__aarch64__)
#define MATRIX_VECTORS(rows) ((rows) <= 3 ? 8 : (rows) == 4 ? 6 : 4)
#define DOT_ROWS 6
#else
#define MATRIX_VECTORS(rows) ((rows) == 1 ? 8 : (rows) == 2 ? 6 : (rows) == 3 ? 4 : (rows) == 4 ? 3 : 2)
#define DOT_ROWS 3
#endif
#define DOT_COLS 4

static int64_t matrix_vectors(int64_t rows) { return MATRIX_VECTORS(rows); }

/* After sum += a * b: keeps the operations in the order written, and sums where they are. */
#if defined(__x86_64__) && defined(__AVX512F__)
#define MATRIX_ORDER(sum) __asm__ volatile("" : "+v"(sum))
#elif defined(__x86_64__) && SIMD_WIDTH < 16
#define MATRIX_ORDER(sum) __asm__ volatile("" : "+x"(sum))
#elif defined(__aarch64__)
#define MATRIX_ORDER(sum) __asm__ volatile("" : "+w"(sum))
#else
#define MATRIX_ORDER(sum) (void)0
#endif

/* What happens to a sum at the end: y = clamp(sum + bias); bias has a value for each column of the tile or is NULL. */
typedef struct {
    const float *bias;
    float low, high;
} matrix_finish;

/* y[r][j] = sum over k < depth of a(r, k) * b[k * b_row + j], added to what is there where `accumulate` is set, then
 * finished where `finish` is not NULL. a(r, k) is a[r * a_pitch + k] by rows, else a[k * a_pitch + r]. */
INLINE void matrix_tile(const int by_rows, const int rows, const int vectors, int64_t depth, const float *a,
                        int64_t a_pitch, const float *b, int64_t b_row, float *y, int64_t y_row, int accumulate,
                        const matrix_finish *finish)
{
    vec sum[MATRIX_ROWS][MATRIX_MOST_VECTORS];
    const float *row[MATRIX_ROWS];
    UNROLL for (int r = 0; r < rows; r++) {
        row[r] = a + r * a_pitch;
        UNROLL for (int j = 0; j < vectors; j++) sum[r][j] = splat(0.0f);
    }
    for (int64_t k = 0; k < depth; k++) {
        if (rows < 4) {
            float left[MATRIX_ROWS];
            UNROLL for (int r = 0; r < rows; r++) left[r] = by_rows ? row[r][k] : a[r];
            UNROLL for (int j = 0; j < vectors; j++) {
                const vec right = load(b + j * SIMD_WIDTH);
                UNROLL for (int r = 0; r < rows; r++) sum[r][j] += right * left[r];
            }
            UNROLL for (int j = 0; j < vectors * SIMD_WIDTH; j += 16) __builtin_prefetch(b + 8 * b_row + j);
        } else {
            vec right[MATRIX_MOST_VECTORS];
            UNROLL for (int j = 0; j < vectors; j++) right[j] = load(b + j * SIMD_WIDTH);
            UNROLL for (int r = 0; r < rows; r++) {
                const float left = by_rows ? row[r][k] : a[r];
                UNROLL for (int j = 0; j < vectors; j++) {
                    sum[r][j] += right[j] * left;
                    MATRIX_ORDER(sum[r][j]);
                }
            }
        }
        b += b_row;
        if (!by_rows) a += a_pitch;
    }
    if (accumulate)
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int j = 0; j < vectors; j++) sum[r][j] += load(y + r * y_row + j * SIMD_WIDTH);
    if (finish) {
        if (finish->bias)
            UNROLL for (int j = 0; j < vectors; j++) {
                const vec bias = load(finish->bias + j * SIMD_WIDTH);
                UNROLL for (int r = 0; r < rows; r++) sum[r][j] += bias;
            }
        if (finish->low > -INFINITY || finish->high < INFINITY) {
            const vec low = splat(finish->low), high = splat(finish->high);
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int j = 0; j < vectors; j++) {
                    sum[r][j] = choose(sum[r][j] < low, low, sum[r][j]);
                    sum[r][j] = choose(sum[r][j] > high, high, sum[r][j]);
                }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++) store(y + r * y_row + j * SIMD_WIDTH, sum[r][j]);
}

#define MATRIX_ARGS                                                                                                 \
    int64_t depth, const float *a, int64_t a_pitch, const float *b, int64_t b_row, float *y, int64_t y_row,         \
        int accumulate, const matrix_finish *finish
#define MATRIX_CASE(R, J)                                                                                           \
    case J:                                                                                                         \
        if (J > MATRIX_VECTORS(R)) break;                                                                           \
        matrix_tile(by_rows, R, J <= MATRIX_VECTORS(R) ? J : 1, depth, a, a_pitch, b, b_row, y, y_row, accumulate,  \
                    finish);                                                                                        \
        break;
#define MATRIX_TILES_OF(R)                                                                                          \
    INLINE void matrix_tiles_of_##R(const int by_rows, int64_t vectors, MATRIX_ARGS)                                \
    {                                                                                                               \
        switch (vectors) {                                                                                          \
            MATRIX_CASE(R, 1) MATRIX_CASE(R, 2) MATRIX_CASE(R, 3) MATRIX_CASE(R, 4)                                 \
            MATRIX_CASE(R, 5) MATRIX_CASE(R, 6) MATRIX_CASE(R, 7) MATRIX_CASE(R, 8)                                 \
        }                                                                                                           \
    }
MATRIX_TILES_OF(1)
MATRIX_TILES_OF(2)
MATRIX_TILES_OF(3)
MATRIX_TILES_OF(4)
MATRIX_TILES_OF(5)
MATRIX_TILES_OF(6)

#define MATRIX_ROWS_CASE(BY_ROWS, R)                                                                                \
    case R: matrix_tiles_of_##R(BY_ROWS, vectors, depth, a, a_pitch, b, b_row, y, y_row, accumulate, finish); break;
#define MATRIX_ROWS_CASES(BY_ROWS)                                                                                  \
    MATRIX_ROWS_CASE(BY_ROWS, 1) MATRIX_ROWS_CASE(BY_ROWS, 2) MATRIX_ROWS_CASE(BY_ROWS, 3)                          \
    MATRIX_ROWS_CASE(BY_ROWS, 4) MATRIX_ROWS_CASE(BY_ROWS, 5) MATRIX_ROWS_CASE(BY_ROWS, 6)

/* matrix_tile of any size: a row by row, a[r * a_pitch + k]. */
static void matrix_by_rows(int64_t rows, int64_t vectors, MATRIX_ARGS)
{
    switch (rows) { MATRIX_ROWS_CASES(1) }
}

/* matrix_tile of any size: a column by column, a[k * a_pitch + r]. */
static void matrix_by_columns(int64_t rows, int64_t vectors, MATRIX_ARGS)
{
    switch (rows) { MATRIX_ROWS_CASES(0) }
}

/* One row of results of few terms, y[j] = sum over k < depth of a[k * a_step] * b[k * b_row + j], in one go. */
static void matrix_terms(int64_t depth, const float *a, int64_t a_step, const float *b, int64_t b_row, float *y,
                         int64_t columns)
{
    int64_t j = 0;
    for (; j + 4 * SIMD_WIDTH <= columns; j += 4 * SIMD_WIDTH) {
        vec sum[4];
        UNROLL for (int i = 0; i < 4; i++) sum[i] = load(b + j + i * SIMD_WIDTH) * a[0];
        for (int64_t k = 1; k < depth; k++)
            UNROLL for (int i = 0; i < 4; i++) sum[i] += load(b + k * b_row + j + i * SIMD_WIDTH) * a[k * a_step];
        UNROLL for (int i = 0; i < 4; i++) store(y + j + i * SIMD_WIDTH, sum[i]);
    }
    for (; j < columns; j++) {
        float sum = b[j] * a[0];
        for (int64_t k = 1; k < depth; k++) sum += b[k * b_row + j] * a[k * a_step];
        y[j] = sum;
    }
}

/* The first `count` columns of b as panels, [panel][depth][width] with zeros behind the last column. */
static void matrix_pack(float *to, int64_t width, const float *b, int64_t b_row, int64_t depth, int64_t count)
{
    const int64_t whole = count / width, rest = count % width;
    for (int64_t k = 0; k < depth; k++, b += b_row) {
        float *at = to + k * width;
        for (int64_t j = 0; j < count; j += 16) __builtin_prefetch(b + 6 * b_row + j);
        for (int64_t p = 0; p < whole; p++, at += depth * width)
            for (int64_t j = 0; j < width; j += SIMD_WIDTH) store(at + j, load(b + p * width + j));
        if (rest) {
            memcpy(at, b + whole * width, rest * sizeof(float));
            memset(at + rest, 0, (width - rest) * sizeof(float));
        }
    }
}

/* The same of the transpose: the first `count` rows of b, each depth long, are the columns. */
static void matrix_pack_transposed(float *to, int64_t width, const float *b, int64_t b_row, int64_t depth,
                                   int64_t count)
{
    for (int64_t j = 0; j < count; j += width, to += depth * width)
        transpose(to, width, width, b + j * b_row, b_row, count - j < width ? count - j : width, depth);
}

/* The sums of the lanes of four vectors. */
typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec4 __attribute__((vector_size(16)));
typedef float vec4_memory __attribute__((vector_size(16), aligned(4), may_alias));

INLINE vec4 choose4(ivec4 mask, vec4 yes, vec4 no) { return (vec4)(((ivec4)yes & mask) | ((ivec4)no & ~mask)); }

INLINE vec4 sums_of_lanes(vec a, vec b, vec c, vec d)
{
    const union {
        vec whole;
        vec4 part[SIMD_WIDTH / 4];
    } sum = {across(a, b, c, d)};
    return sum.part[0];
}

/* Four sums beside each other, as they go to y. */
INLINE vec4 dot_finished(vec4 sum, const float *y, int accumulate, const matrix_finish *finish)
{
    if (accumulate) sum += *(const vec4_memory *)y;
    if (!finish) return sum;
    const vec4 low = finish->low - (vec4){0}, high = finish->high - (vec4){0};
    if (finish->bias) sum += *(const vec4_memory *)finish->bias;
    sum = choose4(sum < low, low, sum);
    return choose4(sum > high, high, sum);
}

/* As matrix_tile, y[r][j] = sum over k < depth of a[r * a_row + k] * b[j * b_row + k]: both are read along k, nothing is
 * packed. Where depth is no whole number of vectors, a vector that ends where it ends must be readable. */
INLINE void dot_tile(const int rows, const int cols, int64_t depth, const float *a, int64_t a_row, const float *b,
                     int64_t b_row, float *y, int64_t y_row, int accumulate, const matrix_finish *finish)
{
    vec sum[DOT_ROWS][DOT_COLS];
    const float *left[DOT_ROWS], *right[DOT_COLS];
    UNROLL for (int r = 0; r < rows; r++) left[r] = a + r * a_row;
    UNROLL for (int j = 0; j < cols; j++) right[j] = b + j * b_row;
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < DOT_COLS; j++) sum[r][j] = splat(0.0f);
    int64_t k = 0;
    for (; k + SIMD_WIDTH <= depth; k += SIMD_WIDTH) {
        vec row[DOT_ROWS];
        UNROLL for (int r = 0; r < rows; r++) row[r] = load(left[r] + k);
        UNROLL for (int j = 0; j < cols; j++) {
            const vec col = load(right[j] + k);
            UNROLL for (int r = 0; r < rows; r++) {
                sum[r][j] += row[r] * col;
                MATRIX_ORDER(sum[r][j]);
            }
        }
    }
    if (k < depth) {
        const ivec last = lanes_between(SIMD_WIDTH - (depth - k), SIMD_WIDTH);
        k = depth - SIMD_WIDTH;
        UNROLL for (int j = 0; j < cols; j++) {
            const vec col = keep(load(right[j] + k), last);
            UNROLL for (int r = 0; r < rows; r++) sum[r][j] += keep(load(left[r] + k), last) * col;
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        union {
            vec4 whole;
            float part[4];
        } total = {sums_of_lanes(sum[r][0], sum[r][1], sum[r][2], sum[r][3])};
        float *to = y + r * y_row;
        if (cols == DOT_COLS) {
            *(vec4_memory *)to = dot_finished(total.whole, to, accumulate, finish);
            continue;
        }
        UNROLL for (int j = 0; j < cols; j++) {
            float v = total.part[j];
            if (accumulate) v += to[j];
            if (finish) {
                if (finish->bias) v += finish->bias[j];
                v = v < finish->low ? finish->low : v;
                v = v > finish->high ? finish->high : v;
            }
            to[j] = v;
        }
    }
}

#define DOT_CASE(R, J)                                                                                              \
    case 4 * R + J - 1: dot_tile(R, J, depth, a, a_row, b, b_row, y, y_row, accumulate, finish); break;
#define DOT_CASES(R) DOT_CASE(R, 1) DOT_CASE(R, 2) DOT_CASE(R, 3) DOT_CASE(R, 4)

static void dot_product(int64_t rows, int64_t cols, int64_t depth, const float *a, int64_t a_row, const float *b,
                        int64_t b_row, float *y, int64_t y_row, int accumulate, const matrix_finish *finish)
{
    switch (4 * rows + cols - 1) {
        DOT_CASES(1) DOT_CASES(2) DOT_CASES(3)
#if DOT_ROWS > 3
        DOT_CASES(4) DOT_CASES(5) DOT_CASES(6)
#endif
    }
}

#endif
