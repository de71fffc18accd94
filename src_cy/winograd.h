/* Winograd's minimal filtering, F(m x m, r x r): tiles of m x m outputs, kernels of r x r taps, on channel-blocked
 * arrays (Lavin and Gray, Fast algorithms for convolutional neural networks, 2016). V below is SIMD_WIDTH.
 *
 * A side has m + r - 1 points: 0, infinity, +-A, +-B for F(4, 3) and F(2, 5), and 0, infinity, +-1 for F(2, 3), in that
 * order, so that points 2k and 2k + 1 share all but the last addition: transforms in two dimensions work on one such
 * pair of rows at a time, which stays in registers. Points near c and 1 / c of both signs amplify rounding errors less
 * than whole numbers do (Alam et al., Winograd convolution for deep neural networks: efficient point selection, 2022);
 * those chosen for six make the constants of the transforms of inputs and outputs exact. */
#ifndef NORMENGINE_WINOGRAD_H
#define NORMENGINE_WINOGRAD_H

#include "conv_microkernel.h"

#define WINOGRAD_A 0.625f
#define WINOGRAD_B 1.5f
#define WINOGRAD_AA (WINOGRAD_A * WINOGRAD_A)
#define WINOGRAD_BB (WINOGRAD_B * WINOGRAD_B)
/* The products of the differences between a point and the others. */
#define WINOGRAD_ZERO (WINOGRAD_AA * WINOGRAD_BB)
#define WINOGRAD_AT_A (2 * WINOGRAD_AA * (WINOGRAD_AA - WINOGRAD_BB))
#define WINOGRAD_AT_B (2 * WINOGRAD_BB * (WINOGRAD_BB - WINOGRAD_AA))

/* Points of a side. */
#define WINOGRAD_SIDE(m, r) ((m) + (r) - 1)
#define WINOGRAD_POINTS(m, r) (WINOGRAD_SIDE(m, r) * WINOGRAD_SIDE(m, r))
/* Transformed arrays hold the points of this many tiles next to each other, V channels each: a register tile. */
#define WINOGRAD_TILES TILE_ROW_PIXELS(2)
#define WINOGRAD_STEP (WINOGRAD_TILES * SIMD_WIDTH)

/* One pair of rows of the transform of `side` inputs. */
INLINE void winograd_input_pair(const int side, const int pair, const vec *d, vec *first, vec *second)
{
    if (side == 4) {
        *first = pair ? d[2] + d[1] : d[2] - d[0];
        *second = pair ? d[2] - d[1] : d[3] - d[1];
    } else if (pair == 0) {
        *first = d[0] * WINOGRAD_ZERO + (d[4] - d[2] * (WINOGRAD_AA + WINOGRAD_BB));
        *second = d[1] * WINOGRAD_ZERO + (d[5] - d[3] * (WINOGRAD_AA + WINOGRAD_BB));
    } else {
        const float point = pair == 1 ? WINOGRAD_A : WINOGRAD_B, other = pair == 1 ? WINOGRAD_BB : WINOGRAD_AA;
        const vec even = d[4] - d[2] * other, odd = d[3] - d[1] * other;
        *first = even + odd * point;
        *second = even - odd * point;
    }
}

/* Keep the compiler from deriving a pointer from another, which would take a register for every vector that is read,
 * and from working on a value where it was made instead of where it is used. */
#define WINOGRAD_POINTER(p) __asm__("" : "+r"(p))
#if defined(__x86_64__) && SIMD_WIDTH == 16
#define WINOGRAD_VALUE(v) __asm__("" : "+v"(v))
#elif defined(__x86_64__)
#define WINOGRAD_VALUE(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define WINOGRAD_VALUE(v) __asm__("" : "+w"(v))
#else
#define WINOGRAD_VALUE(v) (void)0
#endif

/* The points of one pair of rows of a tile of V channels: 2 `side` vectors, `step` floats apart. `rows` points to the
 * tile's rows, of which only the columns first..end exist; the others are zero. */
INLINE void winograd_input(const int side, const int pair, const float *const *rows, int64_t first, int64_t end,
                           float *to, const int64_t step)
{
    const float *row[6];
    vec half[2][6], d[6], points[2];
    UNROLL for (int i = 0; i < side; i++) {
        row[i] = rows[i];
        WINOGRAD_POINTER(row[i]);
    }
    WINOGRAD_POINTER(first);
    WINOGRAD_POINTER(end);
    UNROLL for (int j = 0; j < side; j++) {
        half[0][j] = half[1][j] = splat(0.0f);
        if (j >= first && j < end) {
            UNROLL for (int i = 0; i < side; i++) d[i] = load(row[i] + j * SIMD_WIDTH);
            winograd_input_pair(side, pair, d, &half[0][j], &half[1][j]);
        }
        WINOGRAD_VALUE(half[0][j]);
        WINOGRAD_VALUE(half[1][j]);
    }
    UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int k = 0; k < side / 2; k++) {
            winograd_input_pair(side, k, half[i], &points[0], &points[1]);
            store(to + (i * side + 2 * k) * step, points[0]);
            store(to + (i * side + 2 * k + 1) * step, points[1]);
        }
}

/* The even or the odd ones of the m outputs of m + r - 1 points; where m is 2, there is a first one alone. */
INLINE void winograd_output_half(const int m, const int r, const int odd, const vec *v, vec *first, vec *second)
{
    if (WINOGRAD_SIDE(m, r) == 4)
        *first = odd ? v[1] + (v[2] - v[3]) : v[0] + (v[2] + v[3]);
    else if (odd) {
        const vec a = v[2] - v[3], b = v[4] - v[5];
        *first = a * WINOGRAD_A + b * WINOGRAD_B;
        if (m == 2) *first += v[1];
        else *second = v[1] + a * (WINOGRAD_A * WINOGRAD_AA) + b * (WINOGRAD_B * WINOGRAD_BB);
    } else {
        const vec a = v[2] + v[3], b = v[4] + v[5];
        *first = v[0] + a + b;
        if (m > 2) *second = a * WINOGRAD_AA + b * WINOGRAD_BB;
    }
}

/* What happens to outputs of V channels before they are stored: clamp(y + bias + residual), zero where there is no
 * channel. residual lies like the outputs, or is NULL. */
typedef struct {
    vec bias, low, high;
    ivec channel;
    const float *residual;
    int clamp;
} winograd_finish;

/* `whole` says that the finish has more to it than a bias. */
INLINE vec winograd_finished(vec v, const winograd_finish *f, const int whole, int64_t offset)
{
    v += f->bias;
    if (!whole) return v;
    if (f->residual) v += load(f->residual + offset);
    if (f->clamp) {
        v = choose(v < f->low, f->low, v);
        v = choose(v > f->high, f->high, v);
    }
    return keep(v, f->channel);
}

/* The even or the odd rows of the outputs of a tile of V channels, from its points, `step` floats apart. */
INLINE void winograd_output(const int m, const int r, const int odd, const int whole, const float *from,
                            const int64_t step, float *y, int64_t pitch, const winograd_finish *finish)
{
    const int side = WINOGRAD_SIDE(m, r);
    vec half[2][6], d[6], out[4];
    WINOGRAD_POINTER(from);
    UNROLL for (int j = 0; j < side; j++) {
        UNROLL for (int i = 0; i < side; i++) d[i] = load(from + (i * side + j) * step);
        winograd_output_half(m, r, odd, d, &half[0][j], &half[1][j]);
    }
    UNROLL for (int i = 0; i < m / 2; i++) {
        const int64_t at = (odd + 2 * i) * pitch;
        float *row = y + at;
        WINOGRAD_POINTER(row);
        winograd_output_half(m, r, 0, half[i], &out[0], &out[2]);
        winograd_output_half(m, r, 1, half[i], &out[1], &out[3]);
        UNROLL for (int j = 0; j < m; j++)
            store(row + j * SIMD_WIDTH, winograd_finished(out[j], finish, whole, at + j * SIMD_WIDTH));
    }
}

/* The transform of the r taps of a row or column of a kernel. */
INLINE void winograd_taps(const int m, const int r, const vec *g, const int64_t g_step, vec *to, const int64_t step)
{
    const vec g0 = g[0], g1 = g[g_step], g2 = g[2 * g_step];
    if (WINOGRAD_SIDE(m, r) == 4) {
        to[0] = -g0;
        to[step] = g2;
        to[2 * step] = 0.5f * (g0 + g2 + g1);
        to[3 * step] = 0.5f * (g0 + g2 - g1);
    } else {
        vec even_a = g0 + g2 * WINOGRAD_AA, odd_a = g1 * WINOGRAD_A;
        vec even_b = g0 + g2 * WINOGRAD_BB, odd_b = g1 * WINOGRAD_B;
        if (r == 5) {
            const vec g3 = g[3 * g_step], g4 = g[4 * g_step];
            even_a += g4 * (WINOGRAD_AA * WINOGRAD_AA);
            even_b += g4 * (WINOGRAD_BB * WINOGRAD_BB);
            odd_a += g3 * (WINOGRAD_A * WINOGRAD_AA);
            odd_b += g3 * (WINOGRAD_B * WINOGRAD_BB);
        }
        to[0] = g0 * (1 / WINOGRAD_ZERO);
        to[step] = g[(r - 1) * g_step];
        to[2 * step] = (even_a + odd_a) * (1 / WINOGRAD_AT_A);
        to[3 * step] = (even_a - odd_a) * (1 / WINOGRAD_AT_A);
        to[4 * step] = (even_b + odd_b) * (1 / WINOGRAD_AT_B);
        to[5 * step] = (even_b - odd_b) * (1 / WINOGRAD_AT_B);
    }
}

/* The points of a kernel of V output channels, `step` floats apart, from its r x r taps, read backwards if `turned`. */
INLINE void winograd_kernel(const int m, const int r, const int turned, const float *taps, float *to, int64_t step)
{
    const int side = WINOGRAD_SIDE(m, r), count = r * r;
    vec g[25], half[30], points[6];
    UNROLL for (int i = 0; i < count; i++) g[i] = load(taps + (turned ? count - 1 - i : i) * SIMD_WIDTH);
    UNROLL for (int j = 0; j < r; j++) winograd_taps(m, r, g + j, r, half + j, r);
    UNROLL for (int i = 0; i < side; i++) {
        winograd_taps(m, r, half + r * i, 1, points, 1);
        UNROLL for (int j = 0; j < side; j++) store(to + (i * side + j) * step, points[j]);
    }
}

#endif
