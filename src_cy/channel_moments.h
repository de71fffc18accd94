/* Sums over pixels of activations in blocks of channels: every lane is a channel, so that nothing crosses lanes. */
#ifndef NORMENGINE_CHANNEL_MOMENTS_H
#define NORMENGINE_CHANNEL_MOMENTS_H

#include "simd.h"

/* Pixels whose sums are held in float32 before they are added to a total in float64. */
#define LANE_RUN 512
#define LANE_SAMPLE 16

/* What is known of a block's channels: how many values, their means, sums of squared distances from the means. */
typedef struct {
    double count, mean[SIMD_WIDTH], m2[SIMD_WIDTH];
} lane_moments;

/* The pixels of a run: `count` in each of `images` images, `image` floats apart. */
typedef struct {
    int64_t images, image, count;
} lane_pixels;

/* The same pixels as two loops, the inner one the longer: of a few pixels in each of many images, over the images. */
typedef struct {
    int64_t outer, outer_step, inner, inner_step;
} lane_walk;

static lane_walk lane_walk_of(const lane_pixels *p)
{
    if (p->count < 4) return (lane_walk){p->count, SIMD_WIDTH, p->images, p->image};
    return (lane_walk){p->images, p->image, p->count, SIMD_WIDTH};
}

/* sums = (sum of x - shift, sum of its squares). */
static void lane_squares(const float *x, const lane_pixels *p, vec shift, vec *sums)
{
    const lane_walk walk = lane_walk_of(p);
    vec first[4], second[4];
    UNROLL for (int u = 0; u < 4; u++) first[u] = second[u] = splat(0.0f);
    for (int64_t n = 0; n < walk.outer; n++) {
        const float *at = x + n * walk.outer_step;
        int64_t i = walk.inner;
        for (; i >= 4; i -= 4, at += 4 * walk.inner_step)
            UNROLL for (int u = 0; u < 4; u++) {
                const vec d = load(at + u * walk.inner_step) - shift;
                first[u] += d;
                second[u] += d * d;
            }
        for (; i > 0; i--, at += walk.inner_step) {
            const vec d = load(at) - shift;
            first[0] += d;
            second[0] += d * d;
        }
    }
    sums[0] = (first[0] + first[1]) + (first[2] + first[3]);
    sums[1] = (second[0] + second[1]) + (second[2] + second[3]);
}

/* sums = (sum of dy (x - shift), sum of dy). */
static void lane_products(const float *dy, const float *x, const lane_pixels *p, vec shift, vec *sums)
{
    const lane_walk walk = lane_walk_of(p);
    vec first[4], second[4];
    UNROLL for (int u = 0; u < 4; u++) first[u] = second[u] = splat(0.0f);
    for (int64_t n = 0; n < walk.outer; n++) {
        const float *given = dy + n * walk.outer_step, *at = x + n * walk.outer_step;
        int64_t i = walk.inner;
        for (; i >= 4; i -= 4, at += 4 * walk.inner_step, given += 4 * walk.inner_step)
            UNROLL for (int u = 0; u < 4; u++) {
                const vec g = load(given + u * walk.inner_step);
                first[u] += g * (load(at + u * walk.inner_step) - shift);
                second[u] += g;
            }
        for (; i > 0; i--, at += walk.inner_step, given += walk.inner_step) {
            const vec g = load(given);
            first[0] += g * (load(at) - shift);
            second[0] += g;
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

/* The first pixels of a run. */
static lane_pixels lane_sample(const lane_pixels *p)
{
    const int64_t images = (LANE_SAMPLE + p->count - 1) / p->count;
    return (lane_pixels){images < p->images ? images : p->images, p->image,
                         p->count < LANE_SAMPLE ? p->count : LANE_SAMPLE};
}

/* One more run of pixels. It is shifted by the means of what is known already, if that is no shorter, else of its first
 * pixels: what these are off by is part of m2, so that few digits are lost that the result has. The first of all shifts
 * is a value itself, and values that are all alike have no variance. */
static void lane_moments_add(lane_moments *m, const float *x, const lane_pixels *p)
{
    const double count = (double)(p->images * p->count);
    float shift[SIMD_WIDTH], total[2][SIMD_WIDTH];
    vec sums[2];
    lane_moments run = {count};
    if (m->count >= count) {
        for (int l = 0; l < SIMD_WIDTH; l++) shift[l] = (float)m->mean[l];
    } else {
        const lane_pixels sample = lane_sample(p);
        lane_squares(x, &sample, load(x), sums);
        store(shift, load(x) + sums[0] / splat((float)(sample.images * sample.count)));
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

/* What is known of a block's channels from images first..end, and from those before if they come `later`. */
static void lane_statistics(lane_moments *m, const float *x, int64_t pixels, int64_t image, int64_t first, int64_t end,
                            int64_t later)
{
    if (!later) m->count = 0;
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
