/* The taps of a row of a kernel, some at a time. */
#ifndef NORMENGINE_TAPS_H
#define NORMENGINE_TAPS_H

#include <stdint.h>

/* The most taps at a time. */
#define TAPS_TOGETHER 3

/* How many of the taps that are left come next: threes, and twos so that none is left alone. */
static inline int64_t taps_next(int64_t left) { return left % TAPS_TOGETHER == 0 ? TAPS_TOGETHER : TAPS_TOGETHER - 1; }

#endif
