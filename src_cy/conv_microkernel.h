/* The micro-kernel of convolution over channel-blocked arrays, a register tile: some pixels times some vectors of output channels, summed
 * over blocks of input channels and taps. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_CONV_MICROKERNEL_H
#define NORMENGINE_CONV_MICROKERNEL_H

#include "simd.h"
#include "prefetch.h"
#include "lane_split.h"

/* TILE_VECTORS is the most vectors of output channels of a tile, TILE_PIXELS(B) the most pixels beside B of them:
 * enough independent sums to hide the latency of a multiply-add, in few enough registers that B weights and an input
 * remain, and no more pixels than addresses fit the general registers. */
#if SIMD_WIDTH == 16
#define TILE_VECTORS 4
#define TILE_PIXELS(B) ((B) == 4 ? 6 : 7)
#elif SIMD_WIDTH == 8
#define TILE_VECTORS 3
#define TILE_PIXELS(B) ((B) == 1 ? 8 : (B) == 2 ? 6 : 4)
#elif defined(__aarch64__)
#define TILE_VECTORS 3
#define TILE_PIXELS(B) 8
#else
#define TILE_VECTORS 2
#define TILE_PIXELS(B) ((B) == 1 ? 8 : 5)
#endif
/* The most pixels V floats apart beside B vectors. */
#if SIMD_WIDTH == 16
#define TILE_ROW_PIXELS(B) ((B) == 1 ? 16 : (B) == 2 ? 14 : (B) == 3 ? 9 : 6)
#else
#define TILE_ROW_PIXELS(B) TILE_PIXELS(B)
#endif
/* The fewest pixels of a row by itself: beside one vector, tiles of TILE_PIXELS have too few sums to hide latency. */
#define TILE_LEAST_ROW(B) ((B) == 1 ? TILE_PIXELS(1) + 2 : TILE_ROW_PIXELS(B))
#define TILE_MOST_PIXELS 16
/* Weights that are held in registers for all pixels; the others are read anew for each. */
#define TILE_HELD (SIMD_WIDTH == 8 ? 2 : TILE_VECTORS)

/* After sum += a * b: keeps the operations in the order written and a and b in use, so that the compiler neither lets
 * the sum wander from register to register nor holds more values than there are registers. A factor that is loaded for
 * one product is not named: an instruction may multiply by what it loads. */
#if defined(__x86_64__) && SIMD_WIDTH == 16
#define TILE_ORDER(sum, a, b) __asm__ volatile("" : "+v"(sum) : "v"(a), "v"(b) : "memory")
#elif defined(__x86_64__)
#define TILE_ORDER(sum, a, b) __asm__ volatile("" : "+x"(sum) : "x"(a), "x"(b) : "memory")
#elif defined(__aarch64__)
#define TILE_ORDER(sum, a, b) __asm__ volatile("" : "+w"(sum) : "w"(a), "w"(b) : "memory")
#else
#define TILE_ORDER(sum, a, b) (void)0
#endif

#define UNLIKELY(x) __builtin_expect((x) != 0, 0)

/* What a sum runs over: `blocks` blocks of V input channels, x_block floats apart; in each of them `tap_count` taps at
 * the given distances from a pixel, in floats; in each of them V channels. Behind those, `rest_count` single values at
 * the given distances from a pixel in the block that follows: the last channels, where they are not a multiple of V, as
 * many for each tap; vectors that span channels take them from `taps` instead. The weights of each block have those of
 * `before` taps in front of these and of `after` behind, which are left out. With `far`, several blocks of rows may come
 * from outside the caches: a tile prefetches what the next one reads. Where the taps are rows of neighbours, as conv_microkernel_taps.h
 * takes them, which ignores `far`, `across` is how many each row has, else 0, and of the inputs of a row of pixels those
 * from `first` to `end` may be other than zero. Each tile prefetches some of what is needed `next`, if that is not NULL. */
typedef struct {
    const int64_t *taps;
    int64_t tap_count, blocks, x_block;
    const int64_t *rest;
    int64_t rest_count;
    int64_t before, after;
    int64_t far, across, first, end;
    prefetcher *next;
} tile_depth;

/* What happens to a sum before it is stored: y = clamp(sum + bias + residual). bias has a value for each of the tile's
 * lanes, residual is laid out as the output; either may be NULL. In the tile's last vector the lanes from `lanes` on
 * hold no channel and are stored as zero. */
typedef struct {
    const float *bias, *residual;
    float low, high;
    int64_t lanes;
} tile_finish;

/* Asks for as many pixels behind those of a row. */
INLINE void tile_ahead(const float *x, const int pixels)
{
    UNROLL for (int p = 0; p < pixels; p++) __builtin_prefetch(x + (pixels + p) * SIMD_WIDTH);
}

/* Asks for where the sums of a tile go, while they are not there yet, and for what is needed next. */
INLINE void tile_ask(const int span, const int pixels, const int vectors, const tile_depth *depth, const float *out,
                     const int64_t *target, int64_t out_block)
{
    const int64_t products = depth->blocks * depth->tap_count * SIMD_WIDTH + depth->rest_count;
    prefetch_step(depth->next, pixels * vectors * products / span);
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int b = 0; b < vectors; b++)
            if (span == 1 || b == 0) __builtin_prefetch(out + target[p] + b * out_block, 1);
}

/* Where the sums of a tile go: added to what is there where `accumulate` is set, finished where `finish` is not NULL. */
INLINE void tile_store(const int pixels, const int vectors, vec sum[][TILE_VECTORS], float *out, const int64_t *target,
                       int64_t out_block, int accumulate, const tile_finish *finish)
{
    if (accumulate)
        UNROLL for (int p = 0; p < pixels; p++)
            UNROLL for (int b = 0; b < vectors; b++) sum[p][b] += load(out + target[p] + b * out_block);
    if (finish) {
        if (finish->bias)
            UNROLL for (int b = 0; b < vectors; b++) {
                const vec bias = load(finish->bias + b * SIMD_WIDTH);
                UNROLL for (int p = 0; p < pixels; p++) sum[p][b] += bias;
            }
        if (finish->residual)
            UNROLL for (int p = 0; p < pixels; p++)
                UNROLL for (int b = 0; b < vectors; b++)
                    sum[p][b] += load(finish->residual + target[p] + b * out_block);
        if (finish->low > -INFINITY) {
            const vec low = splat(finish->low);
            UNROLL for (int p = 0; p < pixels; p++)
                UNROLL for (int b = 0; b < vectors; b++) sum[p][b] = choose(sum[p][b] < low, low, sum[p][b]);
        }
        if (finish->high < INFINITY) {
            const vec high = splat(finish->high);
            UNROLL for (int p = 0; p < pixels; p++)
                UNROLL for (int b = 0; b < vectors; b++) sum[p][b] = choose(sum[p][b] > high, high, sum[p][b]);
        }
        if (finish->lanes < SIMD_WIDTH) {
            const ivec channels = lanes_between(0, finish->lanes);
            UNROLL for (int p = 0; p < pixels; p++) sum[p][vectors - 1] = keep(sum[p][vectors - 1], channels);
        }
    }
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int b = 0; b < vectors; b++) store(out + target[p] + b * out_block, sum[p][b]);
}

/* The products with the last channels, one value at a time. */
INLINE void tile_rest(const int row, const int pixels, const int vectors, const tile_depth *depth,
                      const float *const *at, int64_t block, const float *w, vec sum[][TILE_VECTORS])
{
    const int64_t *const rest_end = depth->rest + depth->rest_count;
    if (UNLIKELY(depth->before && depth->rest_count))
        w += depth->before * (depth->rest_count / depth->tap_count) * vectors * SIMD_WIDTH;
    for (const int64_t *value = depth->rest; value < rest_end; value++, w += vectors * SIMD_WIDTH) {
        const int64_t offset = block + *value;
        const float *const first = at[0] + offset;
        vec right[TILE_VECTORS];
        UNROLL for (int b = 0; b < vectors; b++) right[b] = load(w + b * SIMD_WIDTH);
        UNROLL for (int p = 0; p < pixels; p++) {
            const vec left = splat(row ? first[p * SIMD_WIDTH] : at[p][offset]);
            UNROLL for (int b = 0; b < vectors; b++) {
                sum[p][b] += right[b] * left;
                TILE_ORDER(sum[p][b], right[b], left);
            }
        }
    }
}

/* The same of vectors that span channels, and of the zeros that lie behind the last channel. */
INLINE void tile_rest_spanned(const int row, const int span, const int pixels, const int vectors,
                              const tile_depth *depth, const float *const *at, int64_t block, const float *w,
                              vec sum[][TILE_VECTORS])
{
    if (depth->rest_count == 0) return;
    const int64_t channels = depth->rest_count / depth->tap_count;
    w += depth->before * ((channels + span - 1) / span) * vectors * SIMD_WIDTH;
    for (const int64_t *tap = depth->taps; tap < depth->taps + depth->tap_count; tap++)
        for (int64_t c = 0; c < channels; c += span, w += vectors * SIMD_WIDTH) {
            const int64_t offset = block + *tap + c;
            UNROLL for (int p = 0; p < pixels; p++) {
                const vec left = span_load(span, row ? at[0] + offset + p * SIMD_WIDTH : at[p] + offset);
                UNROLL for (int b = 0; b < vectors; b++) {
                    sum[p][b] += load(w + b * SIMD_WIDTH) * left;
                    TILE_ORDER(sum[p][b], left, left);
                }
            }
        }
}

/* One tile of `pixels` x `vectors`, whose lanes span so many input channels (lane_split.h). The pixels lie at x + source[p] or,
 * with `row`, at x + source[0] + p * V; weights w are [block][tap][V / span][vectors * V], then, contiguous, those of the
 * rest, [rest][vectors * V], or [tap][rest channels / span, rounded up][vectors * V]; vector b of pixel p goes to
 * out + target[p] + b * out_block, or, of vectors that span channels, all of them as one to out + target[p]. It is added
 * to what is there where `accumulate` is set, and finished where `finish` is not NULL. */
INLINE void tile_product(const int row, const int span, const int pixels, const int vectors, const tile_depth *depth,
                         const float *x, const int64_t *source, const float *w, float *out, const int64_t *target,
                         int64_t out_block, int accumulate, const tile_finish *finish)
{
    vec sum[TILE_MOST_PIXELS][TILE_VECTORS];
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int b = 0; b < vectors; b++) sum[p][b] = splat(0.0f);
    const float *at[TILE_MOST_PIXELS];
    UNROLL for (int p = 0; p < pixels; p++) at[p] = row ? x + source[0] + p * SIMD_WIDTH : x + source[p];
    const int64_t *const taps = depth->taps, *const taps_end = taps + depth->tap_count;
    const int64_t x_block = depth->x_block;
    const int64_t far = depth->far;
    const int64_t a_tap = SIMD_WIDTH / span * vectors * SIMD_WIDTH;
    const int64_t before = depth->before * a_tap;
    const int64_t after = depth->after * a_tap;
    int64_t block = 0;
    for (int64_t n = depth->blocks; n > 0; n--, block += x_block, w += after) {
        if (row && UNLIKELY(far)) tile_ahead(at[0] + block, pixels);
        w += before;
        for (const int64_t *tap = taps; tap < taps_end; tap++, w += a_tap) {
            const int64_t offset = block + *tap;
            const float *const first = at[0] + offset;
            UNROLL for (int c = 0; c < SIMD_WIDTH; c += span) {
                const float *const right = w + c / span * vectors * SIMD_WIDTH;
                vec held[TILE_HELD];
                UNROLL for (int b = 0; b < vectors && b < TILE_HELD; b++) held[b] = load(right + b * SIMD_WIDTH);
                UNROLL for (int p = 0; p < pixels; p++) {
                    const vec left = span_load(span, row ? first + p * SIMD_WIDTH + c : at[p] + offset + c);
                    UNROLL for (int b = 0; b < vectors; b++)
                        if (vectors == 1) {
                            sum[p][b] += held[b] * left;
                            TILE_ORDER(sum[p][b], held[b], held[b]);
                        } else if (b < TILE_HELD) {
                            sum[p][b] += held[b] * left;
                            TILE_ORDER(sum[p][b], held[b], left);
                        } else {
                            sum[p][b] += load(right + b * SIMD_WIDTH) * left;
                            TILE_ORDER(sum[p][b], left, left);
                        }
                }
            }
        }
    }
    if (row && UNLIKELY(far && depth->rest_count)) tile_ahead(at[0] + block, pixels);
    if (span == 1) tile_rest(row, pixels, vectors, depth, at, block, w, sum);
    else tile_rest_spanned(row, span, pixels, vectors, depth, at, block, w, sum);
    span_join(span, pixels, vectors, TILE_VECTORS, sum[0]);
    tile_store(pixels, span == 1 ? vectors : 1, sum, out, target, out_block, accumulate, finish);
}

#define TILE_ARGS                                                                                                   \
    const tile_depth *depth, const float *x, const int64_t *source, const float *w, float *out,                     \
        const int64_t *target, int64_t out_block, int accumulate, const tile_finish *finish
#define TILE_CASE(ROW, P, S, B)                                                                                     \
    case P:                                                                                                         \
        for (; count > 0; count--, source += P, target += P) {                                                      \
            tile_ask(S, P, B, depth, out, target, out_block);                                                       \
            tile_product(ROW, S, P, B, depth, x, source, w, out, target, out_block, accumulate, finish);            \
        }                                                                                                           \
        break;
#define TILE_CASES_4(R, S, B)                                                                                       \
    TILE_CASE(R, 1, S, B) TILE_CASE(R, 2, S, B) TILE_CASE(R, 3, S, B) TILE_CASE(R, 4, S, B)
#define TILE_CASES_5(R, S, B) TILE_CASES_4(R, S, B) TILE_CASE(R, 5, S, B)
#define TILE_CASES_6(R, S, B) TILE_CASES_5(R, S, B) TILE_CASE(R, 6, S, B)
#define TILE_CASES_7(R, S, B) TILE_CASES_6(R, S, B) TILE_CASE(R, 7, S, B)
#define TILE_CASES_8(R, S, B) TILE_CASES_7(R, S, B) TILE_CASE(R, 8, S, B)
#define TILE_CASES_8_TO_9(R, S, B) TILE_CASE(R, 8, S, B) TILE_CASE(R, 9, S, B)
#define TILE_CASES_8_TO_14(R, S, B)                                                                                 \
    TILE_CASES_8_TO_9(R, S, B) TILE_CASE(R, 10, S, B) TILE_CASE(R, 11, S, B) TILE_CASE(R, 12, S, B)                 \
    TILE_CASE(R, 13, S, B) TILE_CASE(R, 14, S, B)
#define TILE_CASES_8_TO_16(R, S, B) TILE_CASES_8_TO_14(R, S, B) TILE_CASE(R, 15, S, B) TILE_CASE(R, 16, S, B)
#define TILE_NO_CASES(R, S, B)
#define TILE_OF(NAME, S, B, CASES, ROW_CASES)                                                                       \
    static void tile_##NAME##_##B(int64_t count, int64_t pixels, TILE_ARGS)                                         \
    {                                                                                                               \
        switch (pixels) { CASES(0, S, B) ROW_CASES(1, S, B) }                                                       \
    }

/* For every number of vectors: `of` output channels, `spanning` all the input channels of a block; and of one vector
 * `paired`, two of them. */
#if SIMD_WIDTH == 16
#define TILES_OF(NAME, S)                                                                                           \
    TILE_OF(NAME, S, 1, TILE_CASES_7, TILE_CASES_8_TO_16) TILE_OF(NAME, S, 2, TILE_CASES_7, TILE_CASES_8_TO_14)     \
    TILE_OF(NAME, S, 3, TILE_CASES_7, TILE_CASES_8_TO_9) TILE_OF(NAME, S, 4, TILE_CASES_6, TILE_NO_CASES)
TILE_OF(paired, 2, 1, TILE_CASES_7, TILE_CASES_8_TO_16)
#elif SIMD_WIDTH == 8
#define TILES_OF(NAME, S)                                                                                           \
    TILE_OF(NAME, S, 1, TILE_CASES_8, TILE_NO_CASES) TILE_OF(NAME, S, 2, TILE_CASES_6, TILE_NO_CASES)               \
    TILE_OF(NAME, S, 3, TILE_CASES_4, TILE_NO_CASES)
TILE_OF(paired, 2, 1, TILE_CASES_8, TILE_NO_CASES)
#elif defined(__aarch64__)
#define TILES_OF(NAME, S)                                                                                           \
    TILE_OF(NAME, S, 1, TILE_CASES_8, TILE_NO_CASES) TILE_OF(NAME, S, 2, TILE_CASES_8, TILE_NO_CASES)               \
    TILE_OF(NAME, S, 3, TILE_CASES_8, TILE_NO_CASES)
TILE_OF(paired, 2, 1, TILE_CASES_8, TILE_NO_CASES)
#else
#define TILES_OF(NAME, S)                                                                                           \
    TILE_OF(NAME, S, 1, TILE_CASES_8, TILE_NO_CASES) TILE_OF(NAME, S, 2, TILE_CASES_5, TILE_NO_CASES)
TILE_OF(paired, 2, 1, TILE_CASES_8, TILE_NO_CASES)
#endif
TILES_OF(of, 1)
TILES_OF(spanning, SIMD_WIDTH)

/* `count` tiles, one after the other in source and target, of any number of vectors up to TILE_VECTORS, one if they span
 * two channels, and of pixels up to TILE_PIXELS(vectors), or, of pixels V floats apart in x, up to
 * TILE_ROW_PIXELS(vectors). */
INLINE void tile_repeat(int64_t count, int64_t pixels, int64_t span, int64_t vectors, TILE_ARGS)
{
#define TILE_REPEAT(NAME) NAME(count, pixels, depth, x, source, w, out, target, out_block, accumulate, finish); return;
    switch (span == 1 ? vectors : span == 2 ? 0 : TILE_VECTORS + vectors) {
    case 0: TILE_REPEAT(tile_paired_1)
    case 1: TILE_REPEAT(tile_of_1)
    case 2: TILE_REPEAT(tile_of_2)
    case TILE_VECTORS + 1: TILE_REPEAT(tile_spanning_1)
    case TILE_VECTORS + 2: TILE_REPEAT(tile_spanning_2)
#if TILE_VECTORS > 2
    case 3: TILE_REPEAT(tile_of_3)
    case TILE_VECTORS + 3: TILE_REPEAT(tile_spanning_3)
#endif
#if TILE_VECTORS > 3
    case 4: TILE_REPEAT(tile_of_4)
    case TILE_VECTORS + 4: TILE_REPEAT(tile_spanning_4)
#endif
    }
#undef TILE_REPEAT
}

/* The fewest tiles, of nearly equal size, that make `count` pixels. `in_row` says that the sources of all of them are V
 * floats apart. */
static void tiles(int64_t count, int in_row, int64_t span, int64_t vectors, TILE_ARGS)
{
    const int64_t most = in_row ? TILE_ROW_PIXELS(vectors) : TILE_PIXELS(vectors);
    const int64_t number = (count + most - 1) / most, size = count / number, larger = count % number;
    if (larger > 0)
        tile_repeat(larger, size + 1, span, vectors, depth, x, source, w, out, target, out_block, accumulate, finish);
    source += larger * (size + 1);
    target += larger * (size + 1);
    tile_repeat(number - larger, size, span, vectors, depth, x, source, w, out, target, out_block, accumulate, finish);
}

#endif
