/* The register tile of sums of outer products: what the weight gradient of a convolution is made of. */
#ifndef NORMENGINE_OUTER_PRODUCT_H
#define NORMENGINE_OUTER_PRODUCT_H

#include "simd.h"
#include "taps.h"

/* The largest tile: OUTER_BLOCKS vectors of one factor, and for each number of them OUTER_ROWS broadcast values of the
 * other: sums, vectors and one broadcast value fit the registers, and the sums hide the latency. */
#define OUTER_BLOCKS 3
#if SIMD_WIDTH == 16
#define OUTER_ROWS(blocks) ((blocks) == 1 ? 16 : 8)
#elif defined(__aarch64__)
#define OUTER_ROWS(blocks) 8
#elif SIMD_WIDTH == 8
#define OUTER_ROWS(blocks) ((blocks) == 3 ? 4 : (blocks) == 2 ? 6 : 8)
#else
#define OUTER_ROWS(blocks) ((blocks) == 3 ? 3 : 4)
#endif

/* Where a row of the outer product reads its values, and where its sums go, in floats. */
typedef struct {
    int64_t start, to;
} outer_row;

/* The terms of a sum as three nested loops, the innermost last: how many, and the steps of both factors in floats. */
typedef struct {
    int64_t count[3], left[3], right[3];
} outer_walk;

/* How far, in floats, what is needed after a walk lies from the factors that it is at; 0 where nothing is. */
typedef struct {
    int64_t left, right;
} outer_next;

/* The same terms in an order that has few short loops: the loops that step evenly as one, the longest innermost. */
static outer_walk outer_longest_inside(outer_walk walk)
{
    for (int outside = 1; outside >= 0; outside--) {
        if (walk.left[outside] == walk.count[2] * walk.left[2] &&
            walk.right[outside] == walk.count[2] * walk.right[2]) {
            walk.count[2] *= walk.count[outside];
            walk.count[outside] = 1;
        } else if (walk.count[outside] > 1) {
            break;
        }
    }
    const int longest = walk.count[0] > walk.count[1] ? 0 : 1;
    if (walk.count[2] < 8 && walk.count[longest] > walk.count[2]) {
        const outer_walk given = walk;
        walk.count[2] = given.count[longest], walk.left[2] = given.left[longest], walk.right[2] = given.right[longest];
        walk.count[longest] = given.count[2], walk.left[longest] = given.left[2], walk.right[longest] = given.right[2];
    }
    return walk;
}

/* For each row r and block b: out[row[r].to + b * out_block ...] gets the sum over the walk of left[row[r].start] *
 * right[b * right_block ...], or grows by it where accumulate is set; next is used where fetch is set. Where they are
 * neighbours, every row starts one float behind the one before. */
INLINE void outer(const int rows, const int blocks, const int neighbours, const int fetch, const outer_row *row,
                  const outer_walk *walk, outer_next next, const float *left, const float *right, int64_t right_block,
                  float *out, int64_t out_block, int64_t accumulate)
{
    vec sum[16][OUTER_BLOCKS];
    int64_t start[16];
    left += row[0].start;
    next.left -= row[0].start;
    UNROLL for (int r = 0; r < rows; r++) {
        start[r] = neighbours ? r : row[r].start - row[0].start;
        UNROLL for (int b = 0; b < blocks; b++) sum[r][b] = splat(0.0f);
    }
    const int64_t left_step = walk->left[2], right_step = walk->right[2];
    for (int64_t i = 0; i < walk->count[0]; i++)
        for (int64_t j = 0; j < walk->count[1]; j++) {
            const float *a = left + i * walk->left[0] + j * walk->left[1];
            const float *v = right + i * walk->right[0] + j * walk->right[1];
            for (int64_t n = walk->count[2]; n > 0; n--) {
                vec value[OUTER_BLOCKS];
                if (fetch) {
                    __builtin_prefetch(a + next.left, 0, 2);
                    __builtin_prefetch(v + next.right, 0, 2);
                }
                UNROLL for (int b = 0; b < blocks; b++) value[b] = load(v + b * right_block);
                UNROLL for (int r = 0; r < rows; r++) {
                    const float factor = a[start[r]];
                    UNROLL for (int b = 0; b < blocks; b++) sum[r][b] += value[b] * factor;
                }
                a += left_step;
                v += right_step;
            }
        }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int b = 0; b < blocks; b++) {
            float *to = out + row[r].to + b * out_block;
            store(to, accumulate ? load(to) + sum[r][b] : sum[r][b]);
        }
}

/* A tile of one block and few rows loads more often than it multiplies: it fetches nothing ahead. */
#define OUTER_CASE(R, B)                                                                                          \
    case 2 * (OUTER_BLOCKS * R + B - 1):                                                                          \
        outer(R, B, 0, 0, row, walk, next, left, right, right_block, out, out_block, accumulate); break;          \
    case 2 * (OUTER_BLOCKS * R + B - 1) + 1:                                                                      \
        outer(R, B, 0, B > 1, row, walk, next, left, right, right_block, out, out_block, accumulate); break;
#define OUTER_CASES(R) OUTER_CASE(R, 1) OUTER_CASE(R, 2) OUTER_CASE(R, 3)

static __attribute__((noinline)) void outer_few(int64_t rows, int64_t blocks, const outer_row *row, const outer_walk *walk, outer_next next,
                       const float *left, const float *right, int64_t right_block, float *out, int64_t out_block,
                       int64_t accumulate)
{
    switch (2 * (OUTER_BLOCKS * rows + blocks - 1) + (next.left || next.right)) {
        OUTER_CASES(1) OUTER_CASES(2) OUTER_CASES(3)
#if SIMD_WIDTH == 16 || defined(__aarch64__)
        OUTER_CASES(4) OUTER_CASES(5) OUTER_CASES(6) OUTER_CASES(7) OUTER_CASES(8)
#elif SIMD_WIDTH == 8
        OUTER_CASES(4) OUTER_CASE(5, 1) OUTER_CASE(5, 2) OUTER_CASE(6, 1) OUTER_CASE(6, 2)
        OUTER_CASE(7, 1) OUTER_CASE(8, 1)
#else
        OUTER_CASE(4, 1) OUTER_CASE(4, 2)
#endif
    }
}

#if SIMD_WIDTH == 16
static int64_t outer_neighbours(int64_t rows, const outer_row *row)
{
    int64_t r = 1;
    while (r < rows && row[r].start == row[0].start + r) r++;
    return r == rows;
}

/* More rows than the tiles of several blocks have. */
static __attribute__((noinline)) void outer_many(int64_t rows, const outer_row *row, const outer_walk *walk,
                                                 outer_next next, const float *left, const float *right, float *out,
                                                 int64_t accumulate)
{
    const int64_t fetch = next.left || next.right;
    if (rows == SIMD_WIDTH && outer_neighbours(rows, row)) {
        if (fetch) outer(SIMD_WIDTH, 1, 1, 1, row, walk, next, left, right, 0, out, 0, accumulate);
        else outer(SIMD_WIDTH, 1, 1, 0, row, walk, next, left, right, 0, out, 0, accumulate);
        return;
    }
    switch (2 * rows + fetch) {
#define MANY(R)                                                                                                       \
    case 2 * R: outer(R, 1, 0, 0, row, walk, next, left, right, 0, out, 0, accumulate); break;                        \
    case 2 * R + 1: outer(R, 1, 0, 1, row, walk, next, left, right, 0, out, 0, accumulate); break;
        MANY(9) MANY(10) MANY(11) MANY(12) MANY(13) MANY(14) MANY(15) MANY(16)
#undef MANY
    }
}
#endif

static void outer_sums(int64_t rows, int64_t blocks, const outer_row *row, const outer_walk *walk, outer_next next,
                       const float *left, const float *right, int64_t right_block, float *out, int64_t out_block,
                       int64_t accumulate)
{
#if SIMD_WIDTH == 16
    if (rows > OUTER_ROWS(2)) {
        outer_many(rows, row, walk, next, left, right, out, accumulate);
        return;
    }
#endif
    outer_few(rows, blocks, row, walk, next, left, right, right_block, out, out_block, accumulate);
}

#if OUTER_BLOCKS < TAPS_TOGETHER
#error "a tile has a block for each tap"
#endif

/* The rows are neighbours, the blocks taps, two or three, `tap` floats apart in what is read and V in the sums. */
static __attribute__((noinline)) void outer_taps(int64_t rows, int64_t taps, const outer_row *row,
                                                 const outer_walk *walk, const float *left, const float *right,
                                                 int64_t tap, float *out, int64_t accumulate)
{
    const outer_next none = {0, 0};
    switch (4 * rows + taps) {
#define TAPS(R)                                                                                                       \
    case 4 * R + 2: outer(R, 2, 1, 0, row, walk, none, left, right, tap, out, SIMD_WIDTH, accumulate); break;         \
    case 4 * R + 3: outer(R, 3, 1, 0, row, walk, none, left, right, tap, out, SIMD_WIDTH, accumulate); break;
        TAPS(1) TAPS(2) TAPS(3) TAPS(4)
#if SIMD_WIDTH > 4 || defined(__aarch64__)
        TAPS(5) TAPS(6)
#endif
#if SIMD_WIDTH == 16 || defined(__aarch64__)
        TAPS(7) TAPS(8)
#endif
#undef TAPS
    }
}

/* Zeros, then the given values, then zeros. */
static void outer_line(float *to, int64_t before, const float *values, int64_t count, int64_t after)
{
    const int64_t end = before + count, width = end + after;
    int64_t i = 0;
    if (width >= SIMD_WIDTH) {
        for (; i < before; i += SIMD_WIDTH) store(to + (i + SIMD_WIDTH <= width ? i : width - SIMD_WIDTH), splat(0.0f));
        for (i = width; i > end; i -= SIMD_WIDTH) store(to + (i >= SIMD_WIDTH ? i - SIMD_WIDTH : 0), splat(0.0f));
    } else {
        for (i = 0; i < width; i++) to[i] = 0.0f;
    }
    to += before;
    if (count >= SIMD_WIDTH) {
        for (i = 0; i < count - SIMD_WIDTH; i += SIMD_WIDTH) store(to + i, load(values + i));
        store(to + count - SIMD_WIDTH, load(values + count - SIMD_WIDTH));
    } else {
        for (i = 0; i < count; i++) to[i] = values[i];
    }
}

/* total[i] = the sum of the parts, of which each lies pitch floats behind the one before; count is whole vectors. */
static void outer_merge(float *total, const float *part, int64_t count, int64_t parts, int64_t pitch)
{
    for (int64_t i = 0; i < count; i += SIMD_WIDTH) {
        vec sum = load(part + i);
        for (int64_t n = 1; n < parts; n++) sum += load(part + n * pitch + i);
        store(total + i, sum);
    }
}

#endif
