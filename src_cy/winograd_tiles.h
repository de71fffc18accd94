/* Winograd convolution over blocks of tiles: points of inputs, their products with those of kernels, and outputs. */
#ifndef NORMENGINE_WINOGRAD_TILES_H
#define NORMENGINE_WINOGRAD_TILES_H

#include "winograd.h"

/* Sums over input channels are taken in runs of this many blocks, so that rounding errors grow with the run and the
 * number of runs instead of with the whole depth. */
#define WINOGRAD_RUN (256 / SIMD_WIDTH)

/* A convolution with r x r kernels as tiles of m x m outputs: tile t of image n, row i, column j has the number
 * (n * tile_rows + i) * tile_cols + j, and reads the inputs from (m i - top, m j - left). */
typedef struct {
    int64_t m, r, in_blocks, in_h, in_w, out_blocks, out_h, out_w, top, left, tile_rows, tile_cols;
} winograd_map;

/* The rows of a tile in the blocks of channels of an image, one block after the other: rows that do not exist are
 * zeros. Of the columns, first..end exist. */
typedef struct {
    const float *row[6];
    int64_t step[6], first, end;
} winograd_window;

static const float winograd_zeros[6 * SIMD_WIDTH];

/* The window of `length` rows and columns from (top, left) on, in an image of the given size. */
INLINE winograd_window winograd_window_at(const int length, const float *image, int64_t height, int64_t width,
                                          int64_t top, int64_t left)
{
    winograd_window window = {.first = left < 0 ? -left : 0, .end = width - left};
    UNROLL for (int i = 0; i < length; i++) {
        const int exists = top + i >= 0 && top + i < height;
        window.row[i] = exists ? image + ((top + i) * width + left) * SIMD_WIDTH : winograd_zeros;
        window.step[i] = exists ? height * width * SIMD_WIDTH : 0;
    }
    return window;
}

INLINE void winograd_next_block(const int length, winograd_window *window)
{
    UNROLL for (int i = 0; i < length; i++) window->row[i] += window->step[i];
}

/* Transforms the tiles first..end into [group of WINOGRAD_TILES tiles][block][point][tile][V]. */
INLINE void winograd_inputs(const int m, const int r, const winograd_map *map, const float *x, int64_t first,
                            int64_t end, float *to)
{
    const int side = WINOGRAD_SIDE(m, r), points = WINOGRAD_POINTS(m, r);
    const int64_t plane = map->in_h * map->in_w * SIMD_WIDTH;
    winograd_window window[WINOGRAD_TILES];
    for (int64_t t = first; t < end; t += WINOGRAD_TILES) {
        const int64_t count = end - t < WINOGRAD_TILES ? end - t : WINOGRAD_TILES;
        for (int64_t n = 0; n < count; n++) {
            const int64_t row = (t + n) / map->tile_cols, image = row / map->tile_rows;
            window[n] = winograd_window_at(side, x + image * map->in_blocks * plane, map->in_h, map->in_w,
                                           row % map->tile_rows * m - map->top,
                                           (t + n) % map->tile_cols * m - map->left);
        }
        for (int64_t b = 0; b < map->in_blocks; b++, to += points * WINOGRAD_STEP)
            for (int64_t n = 0; n < count; n++) {
                UNROLL for (int pair = 0; pair < side / 2; pair++)
                    winograd_input(side, pair, window[n].row, window[n].first, window[n].end,
                                   to + n * SIMD_WIDTH + pair * 2 * side * WINOGRAD_STEP, WINOGRAD_STEP);
                winograd_next_block(side, &window[n]);
            }
    }
}

/* Adds what the tiles first..end read or make of some blocks of channels of an array, of `all` that it has: rows of an
 * image, or whole images where the tiles are of several; nothing where these have other blocks between them. `top` is how
 * far the tiles reach above their rows, `more` how many rows they have beside m. */
INLINE void winograd_prefetch(const int m, const winograd_map *map, prefetcher *s, int64_t first, int64_t end, const float *array,
                          int64_t height, int64_t width, int64_t top, int64_t more, int64_t all, int64_t block,
                          int64_t blocks)
{
    const int64_t row = first / map->tile_cols, last = (end - 1) / map->tile_cols, image = row / map->tile_rows;
    const int64_t images = last / map->tile_rows - image + 1, pitch = width * SIMD_WIDTH;
    int64_t from = 0, to = height;
    if (first >= end || (images > 1 && blocks < all)) return;
    if (images == 1) {
        from = row % map->tile_rows * m - top > 0 ? row % map->tile_rows * m - top : 0;
        to = last % map->tile_rows * m - top + m + more;
        if (to > height) to = height;
    }
    prefetch_add(s, array + (image * all + block) * height * pitch + from * pitch, height * pitch, images * blocks,
             (to - from) * pitch / PREFETCH_LINE);
}

/* Tiles beside the weights of V channels in registers: a divisor of WINOGRAD_TILES. */
#if SIMD_WIDTH == 16
#define WINOGRAD_BESIDE (WINOGRAD_TILES / 2)
#else
#define WINOGRAD_BESIDE WINOGRAD_TILES
#endif

/* The products of a point of `count` tiles for one vector of output channels: the weights of a block of input channels
 * stay in registers while all tiles pass, with whatever is there behind the last one. Each sum is one run of terms: there
 * are no more than WINOGRAD_RUN blocks. x and out are `in_group` and `out_group` floats apart from one group of tiles to
 * the next. */
INLINE void winograd_single(int64_t count, int64_t in_blocks, int64_t block, const float *x, int64_t in_group,
                            const float *w, float *out, int64_t out_group, prefetcher *next)
{
    for (int64_t b = 0; b < in_blocks; b++, x += block, w += SIMD_WIDTH * SIMD_WIDTH) {
        vec held[SIMD_WIDTH];
        UNROLL for (int c = 0; c < SIMD_WIDTH; c++) held[c] = load(w + c * SIMD_WIDTH);
        for (int64_t t = 0; t < count; t += WINOGRAD_BESIDE) {
            const int64_t group = t / WINOGRAD_TILES, first = t % WINOGRAD_TILES * SIMD_WIDTH;
            prefetch_step(next, WINOGRAD_BESIDE * SIMD_WIDTH);
            const float *from = x + group * in_group + first;
            float *to = out + group * out_group + first;
            vec sum[WINOGRAD_BESIDE];
            UNROLL for (int i = 0; i < WINOGRAD_BESIDE; i++) sum[i] = b > 0 ? load(to + i * SIMD_WIDTH) : splat(0.0f);
            UNROLL for (int c = 0; c < SIMD_WIDTH; c++)
                UNROLL for (int i = 0; i < WINOGRAD_BESIDE; i++) {
                    sum[i] += held[c] * splat(from[i * SIMD_WIDTH + c]);
                    TILE_ORDER(sum[i], held[c], held[c]);
                }
            UNROLL for (int i = 0; i < WINOGRAD_BESIDE; i++) store(to + i * SIMD_WIDTH, sum[i]);
        }
    }
}

/* Multiplies the points of `count` tiles by those of the kernels of some vectors of output channels: to is
 * [group][vector][point][tile][V]; kernels are [point, kernel_step apart][two vectors][input channel][V of both].
 * What is needed `next` is prefetched on the way. */
INLINE void winograd_products(const int side, int64_t count, int64_t in_blocks, int64_t vectors, const float *points,
                              const float *kernels, int64_t kernel_step, float *to, prefetcher *next)
{
    const int64_t taps[1] = {0}, source[1] = {0}, block = side * side * WINOGRAD_STEP;
    int64_t target[WINOGRAD_TILES];
    UNROLL for (int i = 0; i < WINOGRAD_TILES; i++) target[i] = i * SIMD_WIDTH;
    for (int64_t p = 0; p < side * side; p++, kernels += kernel_step, points += WINOGRAD_STEP, to += WINOGRAD_STEP)
        for (int64_t v = 0; v < vectors; v += 2) {
            const int64_t both = vectors - v > 1 ? 2 : 1;
            if (both == 1 && in_blocks <= WINOGRAD_RUN) {
                winograd_single(count, in_blocks, block, points, in_blocks * block,
                                kernels + v * in_blocks * SIMD_WIDTH * SIMD_WIDTH, to + v * block, vectors * block, next);
                continue;
            }
            for (int64_t b = 0; b < in_blocks; b += WINOGRAD_RUN) {
                const tile_depth depth = {taps, 1, in_blocks - b < WINOGRAD_RUN ? in_blocks - b : WINOGRAD_RUN, block};
                const float *w = kernels + (v * in_blocks + b * both) * SIMD_WIDTH * SIMD_WIDTH;
                for (int64_t t = 0; t < count; t += WINOGRAD_TILES) {
                    const float *x = points + (t / WINOGRAD_TILES * in_blocks + b) * block;
                    float *out = to + (t / WINOGRAD_TILES * vectors + v) * block;
                    const int64_t rest = count - t < WINOGRAD_TILES ? count - t : WINOGRAD_TILES;
                    prefetch_step(next, both * rest * SIMD_WIDTH * depth.blocks);
                    if (both == 2 && rest == WINOGRAD_TILES)
                        tile_product(1, 1, WINOGRAD_TILES, 2, &depth, x, source, w, out, target, block, b > 0, 0);
                    else {
                        int64_t from[WINOGRAD_TILES];
                        for (int64_t i = 0; i < rest; i++) from[i] = target[i];
                        tiles(rest, 1, 1, both, &depth, x, from, w, out, target, block, b > 0, 0);
                    }
                }
            }
        }
}
/* What a convolution adds to its sums, and where it ends; the numbers of its signature's slots. */
typedef struct {
    const float *bias, *residual;
    double low, high;
    int64_t channels;
} winograd_epilogue;

INLINE winograd_finish winograd_finish_block(const winograd_epilogue *e, int64_t block)
{
    const int64_t first = block * SIMD_WIDTH, rest = e->channels - first;
    winograd_finish f = {.low = splat((float)e->low), .high = splat((float)e->high), .residual = e->residual};
    float bias[SIMD_WIDTH];
    for (int64_t i = 0; i < SIMD_WIDTH; i++) bias[i] = e->bias && i < rest ? e->bias[first + i] : 0.0f;
    f.bias = load(bias);
    f.channel = lanes_between(0, rest < SIMD_WIDTH ? rest : SIMD_WIDTH);
    f.clamp = e->low > -INFINITY || e->high < INFINITY;
    return f;
}

/* The outputs of the tiles first..end of some blocks of channels, from what winograd_products made of them. */
INLINE void winograd_outputs(const int m, const int r, const winograd_map *map, const winograd_epilogue *epilogue,
                             const float *from, int64_t first, int64_t end, int64_t first_block, int64_t blocks,
                             float *y)
{
    const int points = WINOGRAD_POINTS(m, r);
    const int64_t pitch = map->out_w * SIMD_WIDTH, plane = map->out_h * pitch;
    float buffer[4 * 4 * SIMD_WIDTH];
    for (int64_t b = 0; b < blocks; b++) {
        winograd_finish finish = winograd_finish_block(epilogue, first_block + b);
        const int whole = finish.residual || finish.clamp || epilogue->channels < (first_block + b + 1) * SIMD_WIDTH;
        for (int64_t t = first; t < end; t++) {
            const int64_t row = t / map->tile_cols, image = row / map->tile_rows;
            const int64_t i = row % map->tile_rows * m, j = t % map->tile_cols * m;
            const int64_t rows = map->out_h - i < m ? map->out_h - i : m, cols = map->out_w - j < m ? map->out_w - j : m;
            const int64_t at = (image * map->out_blocks + first_block + b) * plane + i * pitch + j * SIMD_WIDTH;
            const float *source = from + ((t - first) / WINOGRAD_TILES * blocks + b) * points * WINOGRAD_STEP
                                  + (t - first) % WINOGRAD_TILES * SIMD_WIDTH;
            finish.residual = epilogue->residual ? epilogue->residual + at : 0;
            if (rows < m || cols < m) {
                const winograd_finish none = {.residual = 0};
                UNROLL for (int odd = 0; odd < 2; odd++)
                    winograd_output(m, r, odd, 0, source, WINOGRAD_STEP, buffer, m * SIMD_WIDTH, &none);
                for (int64_t p = 0; p < rows; p++)
                    for (int64_t q = 0; q < cols; q++) {
                        const int64_t to = p * pitch + q * SIMD_WIDTH;
                        store(y + at + to, winograd_finished(load(buffer + (p * m + q) * SIMD_WIDTH), &finish, 1, to));
                    }
            } else if (whole)
                UNROLL for (int odd = 0; odd < 2; odd++)
                    winograd_output(m, r, odd, 1, source, WINOGRAD_STEP, y + at, pitch, &finish);
            else
                UNROLL for (int odd = 0; odd < 2; odd++)
                    winograd_output(m, r, odd, 0, source, WINOGRAD_STEP, y + at, pitch, &finish);
        }
    }
}

/* The outputs of the tiles first..end, of the blocks of channels first_block..end_block, `chunk` (an even number) of them
 * at a time. `memory` takes the points of the tiles and after them the products of a chunk. Memory is prefetched: for
 * these outputs and for the tiles up to next_end that follow, or, where that is 0, what was given. */
INLINE void winograd_tiles(const int m, const int r, const winograd_map *map, const winograd_epilogue *epilogue,
                           const float *x, const float *kernels, int64_t kernel_step, int64_t first, int64_t end,
                           int64_t next_end, int64_t first_block, int64_t end_block, int64_t chunk, float *y,
                           float *memory, prefetcher *given)
{
    const int points = WINOGRAD_POINTS(m, r);
    const int64_t groups = (end - first + WINOGRAD_TILES - 1) / WINOGRAD_TILES;
    float *products = memory + groups * map->in_blocks * points * WINOGRAD_STEP;
    winograd_inputs(m, r, map, x, first, end, memory);
    for (int64_t b = first_block; b < end_block; b += chunk) {
        const int64_t blocks = end_block - b < chunk ? end_block - b : chunk;
        prefetcher next = {.count = 0};
        if (next_end) {
            winograd_prefetch(m, map, &next, first, end, y, map->out_h, map->out_w, 0, 0, map->out_blocks, b, blocks);
            if (b + blocks == end_block)
                winograd_prefetch(m, map, &next, end, next_end, x, map->in_h, map->in_w, map->top, r - 1, map->in_blocks, 0,
                              map->in_blocks);
            prefetch_spread(&next, points * (end - first) * map->in_blocks * SIMD_WIDTH * blocks);
        }
        winograd_products(WINOGRAD_SIDE(m, r), end - first, map->in_blocks, blocks, memory,
                          kernels + b * map->in_blocks * SIMD_WIDTH * SIMD_WIDTH, kernel_step, products,
                          next_end ? &next : given);
        winograd_outputs(m, r, map, epilogue, products, first, end, b, blocks, y);
    }
}

/* The points of the kernels of one block of output channels, zeros for channels that do not exist; kernels are as
 * winograd_products takes them. The taps of output channel o and input channel i are those at
 * weight + o * out_step + i * in_step. */
INLINE void winograd_kernels(const int m, const int r, const int turned, const float *weight, int64_t out_step,
                             int64_t in_step, int64_t out_channels, int64_t in_channels, int64_t block, float *kernels,
                             int64_t kernel_step)
{
    const int64_t in_blocks = (in_channels + SIMD_WIDTH - 1) / SIMD_WIDTH, first = block * SIMD_WIDTH;
    const int64_t rest = out_channels - first, lanes = rest < SIMD_WIDTH ? rest : SIMD_WIDTH;
    const int64_t both = block % 2 || rest > SIMD_WIDTH ? 2 : 1;
    float taps[25 * SIMD_WIDTH];
    float *to = kernels + (block - block % 2) * in_blocks * SIMD_WIDTH * SIMD_WIDTH + block % 2 * SIMD_WIDTH;
    for (int64_t i = 0; i < in_blocks * SIMD_WIDTH; i++, to += both * SIMD_WIDTH)
        if (i < in_channels) {
            transpose(taps, SIMD_WIDTH, SIMD_WIDTH, weight + first * out_step + i * in_step, out_step, lanes, r * r);
            winograd_kernel(m, r, turned, taps, to, kernel_step);
        } else
            for (int p = 0; p < WINOGRAD_POINTS(m, r); p++) store(to + p * kernel_step, splat(0.0f));
}

/* Calls a function with its first two arguments, m and r, as the constants that it was made for. */
#define WINOGRAD_CONSTANT(function, m, r, ...)                                                                        \
    do {                                                                                                              \
        if (r == 5) function(2, 5, __VA_ARGS__);                                                                      \
        else if (m == 2) function(2, 3, __VA_ARGS__);                                                                 \
        else function(4, 3, __VA_ARGS__);                                                                             \
    } while (0)

static void winograd_make_tiles(const winograd_map *map, const winograd_epilogue *epilogue, const float *x,
                                const float *kernels, int64_t kernel_step, int64_t first, int64_t end, int64_t next_end,
                                int64_t first_block, int64_t end_block, int64_t chunk, float *y, float *memory,
                                prefetcher *given)
{
    WINOGRAD_CONSTANT(winograd_tiles, map->m, map->r, map, epilogue, x, kernels, kernel_step, first, end, next_end,
                      first_block, end_block, chunk, y, memory, given);
}

static void winograd_make_kernels(int64_t m, int64_t r, int turned, const float *weight, int64_t out_step,
                                  int64_t in_step, int64_t out_channels, int64_t in_channels, int64_t block,
                                  float *kernels, int64_t kernel_step)
{
    if (turned)
        WINOGRAD_CONSTANT(winograd_kernels, m, r, 1, weight, out_step, in_step, out_channels, in_channels, block,
                          kernels, kernel_step);
    else
        WINOGRAD_CONSTANT(winograd_kernels, m, r, 0, weight, out_step, in_step, out_channels, in_channels, block,
                          kernels, kernel_step);
}

#endif
