/* Sums over pixels of activations in blocks of channels: every lane is a channel, so that nothing crosses lanes. */
#ifndef NORMENGINE_LANES_H
#define NORMENGINE_LANES_H

#include "simd.h"

/* Pixels whose sums are held in float32 before they are added to a total in float64. */
#define LANE_RUN 512

/* What is known of a block's channels: how many values, their means, sums of squared distances from the means. */
typedef struct {
    double count, mean[SIMD_WIDTH], m2[SIMD_WIDTH];
} lane_moments;

/* The pixels of a run: `count` in each of `images` images, `image` floats apart. */
typedef struct {
    int64_t images, image, count;
} lane_pixels;

/* sums += (sum of (x - shift), sum of its squares). */
static void lane_squares(const float *x, const lane_pixels *p, vec shift, vec *sums)
{
    vec first[4], second[4];
    UNROLL for (int u = 0; u < 4; u++) first[u] = second[u] = splat(0.0f);
    for (int64_t n = 0; n < p->images; n++) {
        const float *at = x + n * p->image;
        int64_t i = 0;
        for (; i + 4 <= p->count; i += 4)
            UNROLL for (int u = 0; u < 4; u++) {
                const vec d = load(at + (i + u) * SIMD_WIDTH) - shift;
                first[u] += d;
                second[u] += d * d;
            }
        for (; i < p->count; i++) {
            const vec d = load(at + i * SIMD_WIDTH) - shift;
            first[i % 4] += d;
            second[i % 4] += d * d;
        }
    }
    sums[0] = (first[0] + first[1]) + (first[2] + first[3]);
    sums[1] = (second[0] + second[1]) + (second[2] + second[3]);
}

/* sums = (sum of dy (x - shift), sum of dy). */
static void lane_products(const float *dy, const float *x, const lane_pixels *p, vec shift, vec *sums)
{
    vec first[4], second[4];
    UNROLL for (int u = 0; u < 4; u++) first[u] = second[u] = splat(0.0f);
    for (int64_t n = 0; n < p->images; n++) {
        const float *given = dy + n * p->image, *at = x + n * p->image;
        int64_t i = 0;
        for (; i + 4 <= p->count; i += 4)
            UNROLL for (int u = 0; u < 4; u++) {
                const vec g = load(given + (i + u) * SIMD_WIDTH);
                first[u] += g * (load(at + (i + u) * SIMD_WIDTH) - shift);
                second[u] += g;
            }
        for (; i < p->count; i++) {
            const vec g = load(given + i * SIMD_WIDTH);
            first[i % 4] += g * (load(at + i * SIMD_WIDTH) - shift);
            second[i % 4] += g;
        }
    }
    sums[0] = (first[0] + first[1]) + (first[2] + first[3]);
    sums[1] = (second[0] + second[1]) + (second[2] + second[3]);
}

/* a becomes what is known of both (Chan, Golub and LeVeque, 1979). */
static void lane_moments_merge(lane_moments *a, const lane_moments *b)
{
    const double count = a->count + b->count;
    for (int l = 0; l < SIMD_WIDTH; l++) {
        const double delta = b->mean[l] - a->mean[l];
        a->mean[l] += delta * (b->count / count);
        a->m2[l] += b->m2[l] + delta * delta * (a->count * b->count / count);
    }
    a->count = count;
}

/* One more run of pixels. A run no longer than what is known already is shifted by the means so far, of which the squared
 * distance is then part of m2: no digits are lost that the result has. */
static void lane_moments_add(lane_moments *m, const float *x, const lane_pixels *p)
{
    const double count = (double)(p->images * p->count);
    float shift[SIMD_WIDTH], total[2][SIMD_WIDTH];
    vec sums[2];
    lane_moments run = {count};
    if (m->count >= count) {
        for (int l = 0; l < SIMD_WIDTH; l++) shift[l] = (float)m->mean[l];
    } else {
        lane_squares(x, p, load(x), sums);
        store(total[0], sums[0]);
        for (int l = 0; l < SIMD_WIDTH; l++) shift[l] = (float)(x[l] + total[0][l] / count);
    }
    lane_squares(x, p, load(shift), sums);
    store(total[0], sums[0]);
    store(total[1], sums[1]);
    for (int l = 0; l < SIMD_WIDTH; l++) {
        const double first = total[0][l], m2 = total[1][l] - first * first / count;
        run.mean[l] = shift[l] + first / count;
        run.m2[l] = m2 < 0 ? 0 : m2;
    }
    if (m->count == 0) *m = run;
    else lane_moments_merge(m, &run);
}

/* The pixels of images first..end of one block, run by run: calls visit(what, x, dy, run) for each; dy may be NULL. */
typedef void (*lane_visit)(void *what, const float *x, const float *dy, const lane_pixels *p);

INLINE void lane_runs(const lane_visit visit, void *what, const float *x, const float *dy, int64_t pixels,
                      int64_t image, int64_t first, int64_t end)
{
    const int64_t together = pixels < LANE_RUN ? LANE_RUN / pixels : 1;
    for (int64_t n = first; n < end; n += together)
        for (int64_t i = 0; i < pixels; i += LANE_RUN) {
            const lane_pixels p = {n + together < end ? together : end - n, image,
                                   pixels - i < LANE_RUN ? pixels - i : LANE_RUN};
            const int64_t at = n * image + i * SIMD_WIDTH;
            visit(what, x + at, dy ? dy + at : 0, &p);
        }
}

INLINE void lane_visit_moments(void *what, const float *x, const float *dy, const lane_pixels *p)
{
    (void)dy;
    lane_moments_add(what, x, p);
}

/* What is known of a block's channels from images first..end. */
static void lane_statistics(lane_moments *m, const float *x, int64_t pixels, int64_t image, int64_t first, int64_t end)
{
    m->count = 0;
    lane_runs(lane_visit_moments, m, x, 0, pixels, image, first, end);
}

/* Sums of dy (x - mean) and of dy, or with x alone, where dy is NULL, of x. */
typedef struct {
    double sums[2][SIMD_WIDTH];
    float mean[SIMD_WIDTH];
} lane_totals;

INLINE void lane_visit_totals(void *what, const float *x, const float *dy, const lane_pixels *p)
{
    lane_totals *t = what;
    float total[2][SIMD_WIDTH];
    vec sums[2];
    if (dy) lane_products(dy, x, p, load(t->mean), sums);
    else lane_squares(x, p, load(t->mean), sums);
    store(total[0], sums[0]);
    store(total[1], sums[1]);
    for (int k = 0; k < 2; k++)
        for (int l = 0; l < SIMD_WIDTH; l++) t->sums[k][l] += total[k][l];
}

/* The totals of images first..end of a block whose channels have the given means, `channels` of them; mean may be
 * NULL. */
static void lane_sums(lane_totals *t, const float *x, const float *dy, const float *mean, int64_t channels,
                      int64_t pixels, int64_t image, int64_t first, int64_t end)
{
    for (int l = 0; l < SIMD_WIDTH; l++) {
        t->sums[0][l] = t->sums[1][l] = 0;
        t->mean[l] = mean && l < channels ? mean[l] : 0.0f;
    }
    lane_runs(lane_visit_totals, t, x, dy, pixels, image, first, end);
}

#endif
