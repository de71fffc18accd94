/* Weighted sums of pixels along columns, then along rows, by tables; pixels are blocks of channels (V floats) or single
 * floats. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_RESAMPLE_H
#define NORMENGINE_RESAMPLE_H

#include "simd.h"

/* Rows that are held at most, and entries of an output for which vectors of outputs are made at a time. */
#define RESAMPLE_HELD 8
#define RESAMPLE_ENTRIES 4
/* Whether vectors can be permuted by lanes that are known at run time only, in a few instructions. */
#if defined(__clang__) || SIMD_WIDTH < 8
#define RESAMPLE_PERMUTES 0
#define RESAMPLE_PICK(a, b, lanes) ((void)(lanes), (a))
#else
#define RESAMPLE_PERMUTES 1
#define RESAMPLE_PICK(a, b, lanes) __builtin_shuffle(a, b, lanes)
#endif

/* Output i is the sum of the inputs places[t] times weights[t] for t from starts[i] up to starts[i + 1]. */
typedef struct {
    const int64_t *starts, *places;
    const float *weights;
} resample_table;

/* A table of columns for vectors of single floats. Vector g of outputs begins at output V g, or V before the last one;
 * its entry k is weights times two vectors from `first` on, of which lane l takes float `lanes[l]`. There are no
 * entries where an output has none or more than RESAMPLE_ENTRIES, rows are short, or inputs lie too far apart. */
typedef struct {
    int64_t entries, vectors;
    int64_t *first;
    int32_t *lanes;
    float *weights;
} resample_vectors;

/* The rows of a plane with columns made anew that are held: slot s has row `row[s]`, or none where that is -1. */
typedef struct {
    const float *x;
    float *rows;
    const resample_table *columns;
    const resample_vectors *vectors;
    int64_t in_pitch, out_pitch, out_width, slots;
    int keeps_columns;
    int64_t row[RESAMPLE_HELD];
} resample_rows_held;

/* A row of blocks of channels made anew. Sums begin at 0, so that lanes that are no channels, which are 0, stay so: times
 * a negative weight they would be -0. */
static void resample_columns_blocked(const resample_table *c, int64_t count, const float *x, float *y)
{
    for (int64_t j = 0; j < count; j++, y += SIMD_WIDTH) {
        const int64_t end = c->starts[j + 1];
        int64_t t = c->starts[j];
        vec sum = {0};
        if (t + 2 == end) {
            sum += load(x + c->places[t] * SIMD_WIDTH) * c->weights[t];
            sum += load(x + c->places[t + 1] * SIMD_WIDTH) * c->weights[t + 1];
        } else
            for (; t < end; t++) sum += load(x + c->places[t] * SIMD_WIDTH) * c->weights[t];
        store(y, sum);
    }
}

/* One entry of V outputs from `from` on, the k-th of `entries`: an output of fewer has its last one in halves. */
INLINE int resample_entry(const resample_table *c, int64_t from, int64_t in_width, int64_t k, int64_t entries,
                          int64_t *first, int32_t *lanes, float *weights)
{
    int64_t places[SIMD_WIDTH], least = in_width;
    for (int l = 0; l < SIMD_WIDTH; l++) {
        const int64_t t = c->starts[from + l], last = c->starts[from + l + 1] - t - 1;
        places[l] = c->places[t + (k < last ? k : last)];
        weights[l] = c->weights[t + (k < last ? k : last)];
        for (int64_t h = last; h <= k && h + 1 < entries; h++) weights[l] *= 0.5f;
        if (places[l] < least) least = places[l];
    }
    *first = least + 2 * SIMD_WIDTH <= in_width ? least : in_width - 2 * SIMD_WIDTH;
    for (int l = 0; l < SIMD_WIDTH; l++) {
        if (places[l] - *first >= 2 * SIMD_WIDTH) return 0;
        lanes[l] = (int32_t)(places[l] - *first);
    }
    return 1;
}

/* Fills in the vectors' memory, which is there for `most` entries an output if that is not 0. */
static void resample_vectors_of(resample_vectors *v, const resample_table *c, int64_t most, int64_t in_width,
                                int64_t out_width)
{
    v->entries = 0;
    v->vectors = (out_width + SIMD_WIDTH - 1) / SIMD_WIDTH;
    if (!RESAMPLE_PERMUTES || !most || in_width < 2 * SIMD_WIDTH || out_width < SIMD_WIDTH) return;
    for (int64_t j = 0; j < out_width; j++)
        if (c->starts[j] == c->starts[j + 1]) return;
    for (int64_t g = 0; g < v->vectors; g++) {
        const int64_t from = (g + 1) * SIMD_WIDTH <= out_width ? g * SIMD_WIDTH : out_width - SIMD_WIDTH;
        for (int64_t k = 0; k < most; k++) {
            const int64_t e = g * most + k;
            if (!resample_entry(c, from, in_width, k, most, v->first + e, v->lanes + e * SIMD_WIDTH,
                                v->weights + e * SIMD_WIDTH))
                return;
        }
    }
    v->entries = most;
}

INLINE void resample_columns_vectors(const int64_t entries, const resample_vectors *v, int64_t count, const float *x,
                                     float *y)
{
    for (int64_t g = 0; g < v->vectors; g++) {
        vec sum = {0};
        for (int64_t e = g * entries; e < (g + 1) * entries; e++) {
            const float *from = x + v->first[e];
            const ivec lanes = *(const ivec_memory *)(v->lanes + e * SIMD_WIDTH);
            sum += RESAMPLE_PICK(load(from), load(from + SIMD_WIDTH), lanes) * load(v->weights + e * SIMD_WIDTH);
        }
        store(y + ((g + 1) * SIMD_WIDTH <= count ? g * SIMD_WIDTH : count - SIMD_WIDTH), sum);
    }
}

/* A row of single floats made anew. */
static void resample_columns_plain(const resample_table *c, const resample_vectors *v, int64_t count, const float *x,
                                   float *y)
{
    if (v->entries == 1) resample_columns_vectors(1, v, count, x, y);
    else if (v->entries == 2) resample_columns_vectors(2, v, count, x, y);
    else if (v->entries) resample_columns_vectors(v->entries, v, count, x, y);
    else
        for (int64_t j = 0; j < count; j++) {
            float sum = 0.0f;
            for (int64_t t = c->starts[j]; t < c->starts[j + 1]; t++) sum += x[c->places[t]] * c->weights[t];
            y[j] = sum;
        }
}

INLINE void resample_columns(const int blocked, const resample_rows_held *h, int64_t row, float *y)
{
    const float *from = h->x + row * h->in_pitch;
    if (h->keeps_columns) memcpy(y, from, h->out_pitch * sizeof(float));
    else if (blocked) resample_columns_blocked(h->columns, h->out_width, from, y);
    else resample_columns_plain(h->columns, h->vectors, h->out_width, from, y);
}

/* A row of the input with its columns made anew, where it is or in its slot. */
INLINE const float *resample_row(const int blocked, resample_rows_held *h, int64_t row)
{
    if (h->keeps_columns) return h->x + row * h->in_pitch;
    const int64_t slot = row % h->slots;
    float *to = h->rows + slot * h->out_pitch;
    if (h->row[slot] != row) resample_columns(blocked, h, row, to);
    h->row[slot] = row;
    return to;
}

/* y = a * weight, or y += a * weight. */
INLINE void resample_scale(int64_t count, float *y, const float *a, float weight, const int add)
{
    int64_t k = 0;
    for (; k + SIMD_WIDTH <= count; k += SIMD_WIDTH)
        store(y + k, (add ? load(y + k) : splat(0.0f)) + load(a + k) * weight);
    for (; k < count; k++) y[k] = (add ? y[k] : 0.0f) + a[k] * weight;
}

/* y = a * wa + b * wb, or y += a * wa + b * wb. */
INLINE void resample_blend(int64_t count, float *y, const float *a, const float *b, float wa, float wb, const int add)
{
    int64_t k = 0;
    for (; k + SIMD_WIDTH <= count; k += SIMD_WIDTH) {
        vec sum = add ? load(y + k) : splat(0.0f);
        sum += load(a + k) * wa;
        sum += load(b + k) * wb;
        store(y + k, sum);
    }
    for (; k < count; k++) y[k] = (add ? y[k] : 0.0f) + a[k] * wa + b[k] * wb;
}

/* The sum of the rows of entries t..end, two at a time where both can be held. */
INLINE void resample_sum(const int blocked, const resample_table *r, int64_t t, int64_t end, resample_rows_held *h,
                         float *y)
{
    const int64_t first = t, count = h->out_pitch;
    while (t < end) {
        const float *a = resample_row(blocked, h, r->places[t]);
        const int both = t + 1 < end && (h->keeps_columns || (r->places[t + 1] - r->places[t]) % h->slots);
        if (both) {
            const float *b = resample_row(blocked, h, r->places[t + 1]);
            if (t == first) resample_blend(count, y, a, b, r->weights[t], r->weights[t + 1], 0);
            else resample_blend(count, y, a, b, r->weights[t], r->weights[t + 1], 1);
        } else if (t == first) resample_scale(count, y, a, r->weights[t], 0);
        else resample_scale(count, y, a, r->weights[t], 1);
        t += 1 + both;
    }
}

INLINE void resample_rows_of(const int blocked, const resample_table *r, resample_rows_held *h, float *y,
                             int64_t i_first, int64_t i_end)
{
    int64_t copied = -1;
    for (int64_t s = 0; s < h->slots; s++) h->row[s] = -1;
    for (int64_t i = i_first; i < i_end; i++) {
        const int64_t t = r->starts[i], end = r->starts[i + 1];
        float *to = y + i * h->out_pitch;
        const int64_t whole = t + 1 == end && r->weights[t] == 1.0f ? r->places[t] : -1;
        if (t == end) memset(to, 0, h->out_pitch * sizeof(float));
        else if (whole < 0) resample_sum(blocked, r, t, end, h, to);
        else if (whole == copied) memcpy(to, to - h->out_pitch, h->out_pitch * sizeof(float));
        else resample_columns(blocked, h, whole, to);
        copied = whole;
    }
}

/* The rows i_first..i_end of a plane of blocks of channels, or of a plane of one channel. */
static void resample_rows_blocked(const resample_table *r, resample_rows_held *h, float *y, int64_t i_first,
                                  int64_t i_end)
{
    resample_rows_of(1, r, h, y, i_first, i_end);
}

static void resample_rows_plain(const resample_table *r, resample_rows_held *h, float *y, int64_t i_first,
                                int64_t i_end)
{
    resample_rows_of(0, r, h, y, i_first, i_end);
}

#endif
