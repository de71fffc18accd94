/* Pixels whose channels lie beside each other, without the lanes that hold none. */
#ifndef NORMENGINE_COMPACT_PIXELS_H
#define NORMENGINE_COMPACT_PIXELS_H

#include "simd.h"

/* to[pixel * channels + c] from blocks of SIMD_WIDTH channels, `block` floats apart. What the last vector of a pixel has
 * beyond its channels is written too, and then over it the next pixel. */
static void packed_pixels(float *to, int64_t channels, const float *from, int64_t block, int64_t pixels)
{
    for (int64_t p = 0; p < pixels; p++, to += channels, from += SIMD_WIDTH) {
        const float *at = from;
        for (int64_t c = 0; c < channels; c += SIMD_WIDTH, at += block) store(to + c, load(at));
    }
}

#endif
