/* Windows that slide along an axis of an image, as convolution and pooling share them. */
#ifndef NORMENGINE_WINDOW_H
#define NORMENGINE_WINDOW_H

#include <stdint.h>

/* One axis: output i lies at out_first + i * out_step and reads the inputs in_first + i * in_step + k * tap_step of the
 * taps k < taps, where these are in 0..in_size. All taps of the outputs inside..inside_end are. */
typedef struct {
    int64_t taps, tap_step, in_first, in_step, in_size, out_first, out_step, count, inside, inside_end;
} window_axis;

static int64_t window_floor(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

static void window_inside(window_axis *a)
{
    const int64_t last = a->in_first + (a->taps - 1) * a->tap_step;
    const int64_t first = a->in_first < 0 ? -window_floor(a->in_first, a->in_step) : 0;
    const int64_t end = window_floor(a->in_size - 1 - last, a->in_step) + 1;
    a->inside = first < a->count ? first : a->count;
    a->inside_end = end > a->count ? a->count : end > a->inside ? end : a->inside;
}

/* An axis whose outputs lie side by side. */
static window_axis window_axis_of(int64_t taps, int64_t tap_step, int64_t in_first, int64_t in_step, int64_t in_size,
                                  int64_t count)
{
    window_axis a = {taps, tap_step, in_first, in_step, in_size, 0, 1, count, 0, 0};
    window_inside(&a);
    return a;
}

/* The axis of the forward pass, from `in_size` to `count` positions. */
static window_axis window_forward_axis(int64_t taps, int64_t stride, int64_t pad, int64_t dilation,
                                       int64_t in_size, int64_t count)
{
    return window_axis_of(taps, dilation, -pad, stride, in_size, count);
}

/* The axis of the input gradient for the positions phase, phase + stride, ... of `size`, from `in_size` positions of
 * the output's gradient. Its taps are the forward ones from *last_tap down, *back apart. */
static window_axis window_grad_axis(int64_t taps, int64_t stride, int64_t pad, int64_t dilation, int64_t in_size,
                                    int64_t size, int64_t phase, int64_t *last_tap, int64_t *back)
{
    window_axis a = {0, 0, 0, 1, in_size, phase, stride, phase < size ? (size - phase - 1) / stride + 1 : 0, 0, 0};
    *last_tap = *back = 0;
    for (int64_t k = 0; k < taps; k++) {
        if ((phase + pad - k * dilation) % stride) continue;
        a.in_first = (phase + pad - k * dilation) / stride;
        if (a.taps == 1) {
            *back = k - *last_tap;
            a.tap_step = *back * dilation / stride;
        }
        *last_tap = k;
        a.taps++;
    }
    if (a.taps) window_inside(&a);
    else a.inside_end = a.count;
    return a;
}

/* Taps of a window that lie inside the image: first..end, and where the first of them is, 0 if there is none. */
typedef struct {
    int64_t first, end, at;
} window_span;

/* Of a window whose first tap is at `from`, of which some taps may lie outside. */
static window_span window_cut(const window_axis *a, int64_t from)
{
    const int64_t step = a->taps > 1 ? a->tap_step : 1;
    int64_t first = from < 0 ? -from : 0, end = from < a->in_size ? a->in_size - from : 0;
    if (step > 1) {
        first = (first + step - 1) / step;
        end = (end + step - 1) / step;
    }
    if (first > a->taps) first = a->taps;
    if (end > a->taps) end = a->taps;
    if (end <= first) return (window_span){first, first, 0};
    return (window_span){first, end, from + first * step};
}

static inline window_span window_within(const window_axis *a, int64_t i)
{
    const int64_t from = a->in_first + i * a->in_step;
    if (i < a->inside || i >= a->inside_end) return window_cut(a, from);
    return (window_span){0, a->taps, from};
}

#endif
