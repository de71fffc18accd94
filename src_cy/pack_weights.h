/* Weights of a convolution, [output channel][input channel][tap] in some order of the channels, with V output channels
 * side by side. V below is SIMD_WIDTH. */
#ifndef NORMENGINE_PACK_WEIGHTS_H
#define NORMENGINE_PACK_WEIGHTS_H

#include "simd.h"

/* to[j * to_step + l] = from[l * lane_step + j * column_step] for l < V and j < columns. */
static void pack_columns(float *to, int64_t to_step, const float *from, int64_t lane_step, int64_t column_step,
                         int64_t columns)
{
    if (lane_step == 1) {
        for (int64_t j = 0; j < columns; j++) store(to + j * to_step, load(from + j * column_step));
    } else if (column_step == 1 && columns >= SIMD_WIDTH) {
        for (int64_t j = 0; j < columns; j += SIMD_WIDTH) {
            const int64_t first = j + SIMD_WIDTH <= columns ? j : columns - SIMD_WIDTH;
            transpose_square(to + first * to_step, to_step, from + first, lane_step);
        }
    } else {
        for (int64_t j = 0; j < columns; j++)
            for (int64_t l = 0; l < SIMD_WIDTH; l++) to[j * to_step + l] = from[l * lane_step + j * column_step];
    }
}

/* The square of V output and V input channels of every tap, [tap][V inputs][V outputs]. */
static void pack_square(float *to, const float *from, int64_t output_step, int64_t input_step, int64_t inputs,
                        int64_t taps)
{
    if (taps == 1) {
        pack_columns(to, SIMD_WIDTH, from, output_step, input_step, inputs);
        return;
    }
    for (int64_t c = 0; c < inputs; c++)
        pack_columns(to + c * SIMD_WIDTH, SIMD_WIDTH * SIMD_WIDTH, from + c * input_step, output_step, 1, taps);
}

/* `count` vectors, to_step floats apart. */
INLINE void pack_vectors(float *to, int64_t to_step, const float *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) store(to + i * to_step, load(from + i * SIMD_WIDTH));
}

/* A square [V inputs][V outputs] as vectors that span `span` inputs (lane_split.h), [inputs / span][vectors][V / span][span], zeros
 * behind the last input. */
static void pack_spanned(float *to, int64_t span, int64_t vectors, const float *square, int64_t inputs)
{
    const int64_t outputs = vectors * (SIMD_WIDTH / span);
    for (int64_t first = 0; first < inputs; first += span)
        for (int64_t o = 0; o < outputs; o++)
            for (int64_t c = first; c < first + span; c++) *to++ = c < inputs ? square[c * SIMD_WIDTH + o] : 0.0f;
}

/* Vectors of `lanes` values and zeros behind them, to_step floats apart; the values begin `step` floats apart, and V of
 * them can be read. */
static void spread_lanes(float *to, int64_t to_step, const float *lines, int64_t step, int64_t lanes, int64_t count)
{
    const ivec held = lanes_between(0, lanes);
    for (int64_t i = 0; i < count; i++) store(to + i * to_step, keep(load(lines + i * step), held));
}

#endif
