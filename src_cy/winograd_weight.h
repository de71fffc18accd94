/* The gradient of an r x r kernel by Winograd's F(r x r, m x m), with m + r - 1 = 6: the 6x6 inputs and the m x m output
 * gradients of a tile are taken to 36 points each, their products are summed over the tiles, and the sums are taken to
 * the taps. One of the three pairs of rows of points (see winograd.h) at a time: 12 of the 36. */
#ifndef NORMENGINE_WINOGRAD_WEIGHT_H
#define NORMENGINE_WINOGRAD_WEIGHT_H

#include "winograd_tiles.h"

#define WINOGRAD_HALF 12
/* Tiles whose values of one point are next to each other. */
#define WINOGRAD_GROUP 16
#define WINOGRAD_GROUP_STEP (WINOGRAD_GROUP * SIMD_WIDTH)
/* Input channels of a register tile; a divisor of V. */
#if SIMD_WIDTH == 16
#define WINOGRAD_ROWS 8
#else
#define WINOGRAD_ROWS 4
#endif
#if SIMD_WIDTH == 4 && !defined(__aarch64__)
#define WINOGRAD_COLUMNS 2
#else
#define WINOGRAD_COLUMNS 3
#endif

/* One pair of points of m output gradients. */
INLINE void winograd_gradient_pair(const int m, const int pair, const vec *d, vec *first, vec *second)
{
    if (pair == 0) {
        *first = d[0];
        *second = d[m - 1];
    } else {
        const float point = pair == 1 ? WINOGRAD_A : WINOGRAD_B;
        vec even = d[0], odd = d[1];
        if (m == 4) {
            even += d[2] * (point * point);
            odd += d[3] * (point * point);
        }
        *first = even + odd * point;
        *second = even - odd * point;
    }
}

/* The points of one pair of rows of a tile of V channels, as winograd_input does it. */
INLINE void winograd_gradient(const int m, const int pair, const float *const *rows, int64_t end, float *to,
                              const int64_t step)
{
    const float *row[4];
    vec half[2][4], d[4], points[2];
    UNROLL for (int i = 0; i < m; i++) {
        row[i] = rows[i];
        WINOGRAD_POINTER(row[i]);
    }
    UNROLL for (int j = 0; j < m; j++) {
        half[0][j] = half[1][j] = splat(0.0f);
        if (j < end) {
            UNROLL for (int i = 0; i < m; i++) d[i] = load(row[i] + j * SIMD_WIDTH);
            winograd_gradient_pair(m, pair, d, &half[0][j], &half[1][j]);
        }
        WINOGRAD_VALUE(half[0][j]);
        WINOGRAD_VALUE(half[1][j]);
    }
    UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int k = 0; k < 3; k++) {
            winograd_gradient_pair(m, k, half[i], &points[0], &points[1]);
            store(to + (i * 6 + 2 * k) * step, points[0]);
            store(to + (i * 6 + 2 * k + 1) * step, points[1]);
        }
}

/* The r taps of a row or column from sums over six points. */
INLINE void winograd_gradient_taps(const int r, const vec *v, const int64_t v_step, vec *to, const int64_t step)
{
    const vec even_a = (v[2 * v_step] + v[3 * v_step]) * (1 / WINOGRAD_AT_A);
    const vec odd_a = (v[2 * v_step] - v[3 * v_step]) * (WINOGRAD_A / WINOGRAD_AT_A);
    const vec even_b = (v[4 * v_step] + v[5 * v_step]) * (1 / WINOGRAD_AT_B);
    const vec odd_b = (v[4 * v_step] - v[5 * v_step]) * (WINOGRAD_B / WINOGRAD_AT_B);
    to[0] = v[0] * (1 / WINOGRAD_ZERO) + (even_a + even_b);
    to[step] = odd_a + odd_b;
    to[2 * step] = even_a * WINOGRAD_AA + even_b * WINOGRAD_BB;
    if (r == 5) {
        to[3 * step] = odd_a * WINOGRAD_AA + odd_b * WINOGRAD_BB;
        to[4 * step] = even_a * (WINOGRAD_AA * WINOGRAD_AA) + even_b * (WINOGRAD_BB * WINOGRAD_BB);
    }
    to[(r - 1) * step] += v[v_step];
}

/* One pair of rows of points of the tiles first..end of x (`length` 6) or dy (`length` m), of `blocks` blocks of `all`
 * from `block` on, into [group][block][point][tile][V]. */
INLINE void winograd_halves(const int m, const int pair, const int length, const winograd_map *map, const float *array,
                            int64_t all, int64_t block, int64_t blocks, int64_t first, int64_t end, float *to)
{
    const int64_t height = length == 6 ? map->in_h : map->out_h, width = length == 6 ? map->in_w : map->out_w;
    const int64_t top = length == 6 ? map->top : 0, left = length == 6 ? map->left : 0;
    const int64_t plane = height * width * SIMD_WIDTH;
    winograd_window window[WINOGRAD_GROUP];
    for (int64_t t = first; t < end; t += WINOGRAD_GROUP) {
        const int64_t count = end - t < WINOGRAD_GROUP ? end - t : WINOGRAD_GROUP;
        for (int64_t n = 0; n < count; n++) {
            const int64_t row = (t + n) / map->tile_cols, image = row / map->tile_rows;
            window[n] = winograd_window_at(length, array + (image * all + block) * plane, height, width,
                                           row % map->tile_rows * m - top, (t + n) % map->tile_cols * m - left);
        }
        for (int64_t b = 0; b < blocks; b++, to += WINOGRAD_HALF * WINOGRAD_GROUP_STEP)
            for (int64_t n = 0; n < count; n++) {
                if (length == 6)
                    winograd_input(6, pair, window[n].row, window[n].first, window[n].end, to + n * SIMD_WIDTH,
                                   WINOGRAD_GROUP_STEP);
                else
                    winograd_gradient(m, pair, window[n].row, window[n].end, to + n * SIMD_WIDTH,
                                      WINOGRAD_GROUP_STEP);
                winograd_next_block(length, &window[n]);
            }
    }
}

/* The register tile: sums over `count` tiles of WINOGRAD_ROWS channels of x times `columns` blocks of dy. Groups of tiles
 * are x_group and dy_group floats apart, blocks of dy `block`; the sums are [column][row][V]. */
INLINE void winograd_outer(const int columns, int64_t count, const float *x, int64_t x_group, const float *dy,
                           int64_t dy_group, int64_t block, float *sums, int64_t accumulate)
{
    vec sum[WINOGRAD_ROWS][WINOGRAD_COLUMNS], right[WINOGRAD_COLUMNS];
    UNROLL for (int r = 0; r < WINOGRAD_ROWS; r++)
        UNROLL for (int c = 0; c < columns; c++) sum[r][c] = splat(0.0f);
    for (; count > 0; count -= WINOGRAD_GROUP, x += x_group, dy += dy_group) {
        const float *a = x, *b = dy, *const end = x + (count < WINOGRAD_GROUP ? count : WINOGRAD_GROUP) * SIMD_WIDTH;
        for (; a < end; a += SIMD_WIDTH, b += SIMD_WIDTH) {
            UNROLL for (int c = 0; c < columns; c++) right[c] = load(b + c * block);
            UNROLL for (int r = 0; r < WINOGRAD_ROWS; r++)
                UNROLL for (int c = 0; c < columns; c++) sum[r][c] += right[c] * a[r];
        }
    }
    UNROLL for (int c = 0; c < columns; c++)
        UNROLL for (int r = 0; r < WINOGRAD_ROWS; r++, sums += SIMD_WIDTH)
            store(sums, accumulate ? load(sums) + sum[r][c] : sum[r][c]);
}

/* Sums of products over `count` tiles: sums are [point, sums_step apart][block of x][row tile][block of dy][row][V].
 * What is needed `next` is prefetched on the way. */
static void winograd_outers(int64_t count, int64_t in_blocks, int64_t out_blocks, const float *x, const float *dy,
                            float *sums, int64_t sums_step, int64_t accumulate, prefetcher *next)
{
    const int64_t block = WINOGRAD_HALF * WINOGRAD_GROUP_STEP, x_group = in_blocks * block, dy_group = out_blocks * block;
    const int64_t rows = in_blocks * (SIMD_WIDTH / WINOGRAD_ROWS);
    for (int64_t p = 0; p < WINOGRAD_HALF; p++)
        for (int64_t o = 0, columns; o < out_blocks; o += columns) {
            const int64_t left = out_blocks - o;
            const float *b = dy + o * block + p * WINOGRAD_GROUP_STEP;
            columns = WINOGRAD_COLUMNS == 3 && (left == 3 || left > 4) ? 3 : left > 1 ? 2 : 1;
            for (int64_t r = 0; r < rows; r++) {
                const int64_t channel = r * WINOGRAD_ROWS;
                const float *a = x + channel / SIMD_WIDTH * block + p * WINOGRAD_GROUP_STEP + channel % SIMD_WIDTH;
                float *to = sums + p * sums_step + (r * out_blocks + o) * WINOGRAD_ROWS * SIMD_WIDTH;
                prefetch_step(next, WINOGRAD_ROWS * columns * count);
                switch (columns) {
#if WINOGRAD_COLUMNS == 3
                case 3: winograd_outer(3, count, a, x_group, b, dy_group, block, to, accumulate); break;
#endif
                case 2: winograd_outer(2, count, a, x_group, b, dy_group, block, to, accumulate); break;
                default: winograd_outer(1, count, a, x_group, b, dy_group, block, to, accumulate);
                }
            }
        }
}

/* The sums of one pair of rows of points over the tiles first..end, `together` (a multiple of WINOGRAD_GROUP) of them at a
 * time, for the blocks first_block..end_block of dy, added to the sums that are there if they come `later`. `memory` takes
 * the points. Memory is prefetched, after the last tiles for those from `next_first` on, but for no tiles from `all` on;
 * where `all` is 0, what was given. */
INLINE void winograd_sums(const int m, const int r, const int pair, const winograd_map *map, const float *x,
                          const float *dy, int64_t first, int64_t end, int64_t next_first, int64_t all,
                          int64_t together, int64_t first_block, int64_t end_block, int64_t later, float *sums,
                          int64_t sums_step, float *memory, prefetcher *given)
{
    const int64_t blocks = end_block - first_block;
    float *gradients = memory + together * map->in_blocks * WINOGRAD_HALF * SIMD_WIDTH;
    for (int64_t t = first; t < end; t += together) {
        const int64_t last = end - t < together ? end : t + together;
        const int64_t from = last < end ? last : next_first, to = all - from < together ? all : from + together;
        prefetcher next = {.count = 0};
        if (all) {
            winograd_prefetch(m, map, &next, from, to, x, map->in_h, map->in_w, map->top, r - 1, map->in_blocks, 0,
                          map->in_blocks);
            winograd_prefetch(m, map, &next, from, to, dy, map->out_h, map->out_w, 0, 0, map->out_blocks, first_block, blocks);
            prefetch_spread(&next, WINOGRAD_HALF * (last - t) * map->in_blocks * SIMD_WIDTH * blocks);
        }
        winograd_halves(m, pair, 6, map, x, map->in_blocks, 0, map->in_blocks, t, last, memory);
        winograd_halves(m, pair, m, map, dy, map->out_blocks, first_block, blocks, t, last, gradients);
        winograd_outers(last - t, map->in_blocks, blocks, memory, gradients, sums, sums_step, later || t > first,
                        all ? &next : given);
    }
}

/* The taps of a block of input channels and a block of output channels from the sums of `chunks` parts of the tiles,
 * chunk_step floats apart, which are added in their order; sums are at the first of the blocks' sums, the rows of a block
 * row_step floats apart in tiles of WINOGRAD_ROWS. */
INLINE void winograd_gradient_kernels(const int r, const float *sums, int64_t sums_step, int64_t row_step,
                                      int64_t chunks, int64_t chunk_step, int64_t rows, int64_t lanes, float *dw,
                                      int64_t out_step)
{
    const int count = r * r;
    float taps[25 * SIMD_WIDTH * SIMD_WIDTH];
    for (int64_t row = 0; row < rows; row++) {
        const float *from = sums + row / WINOGRAD_ROWS * row_step + row % WINOGRAD_ROWS * SIMD_WIDTH;
        vec points[36], half[30], made[25];
        UNROLL for (int p = 0; p < 36; p++) points[p] = load(from + p * sums_step);
        for (int64_t c = 1; c < chunks; c++)
            for (int p = 0; p < 36; p++) points[p] += load(from + c * chunk_step + p * sums_step);
        UNROLL for (int i = 0; i < 6; i++) winograd_gradient_taps(r, points + 6 * i, 1, half + r * i, 1);
        UNROLL for (int j = 0; j < r; j++) winograd_gradient_taps(r, half + j, r, made + j, r);
        UNROLL for (int k = 0; k < count; k++) store(taps + (row * count + k) * SIMD_WIDTH, made[k]);
    }
    transpose(dw, out_step, count * rows, taps, SIMD_WIDTH, count * rows, lanes);
}

static void winograd_make_sums(int64_t pair, const winograd_map *map, const float *x, const float *dy, int64_t first,
                               int64_t end, int64_t next_first, int64_t all, int64_t together, int64_t first_block,
                               int64_t end_block, int64_t later, float *sums, int64_t sums_step, float *memory,
                               prefetcher *given)
{
#define SUMS(M, R, PAIR)                                                                                              \
    winograd_sums(M, R, PAIR, map, x, dy, first, end, next_first, all, together, first_block, end_block, later, sums, \
                  sums_step, memory, given)
#define PAIRS(M, R)                                                                                                   \
    do {                                                                                                              \
        if (pair == 0) SUMS(M, R, 0);                                                                                 \
        else if (pair == 1) SUMS(M, R, 1);                                                                            \
        else SUMS(M, R, 2);                                                                                           \
    } while (0)
    if (map->r == 5) PAIRS(2, 5);
    else PAIRS(4, 3);
#undef PAIRS
#undef SUMS
}

static void winograd_make_gradient_kernels(int64_t r, const float *sums, int64_t sums_step, int64_t row_step,
                                           int64_t chunks, int64_t chunk_step, int64_t rows, int64_t lanes, float *dw,
                                           int64_t out_step)
{
    if (r == 5) winograd_gradient_kernels(5, sums, sums_step, row_step, chunks, chunk_step, rows, lanes, dw, out_step);
    else winograd_gradient_kernels(3, sums, sums_step, row_step, chunks, chunk_step, rows, lanes, dw, out_step);
}

#endif
