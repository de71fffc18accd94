# Windows that slide along an axis of an image.

cdef extern from "window.h" nogil:
    ctypedef struct window_axis:
        int64_t taps, count, inside, inside_end
    ctypedef struct window_span:
        int64_t first, end
    window_axis window_axis_of(int64_t taps, int64_t tap_step, int64_t in_first, int64_t in_step, int64_t in_size,
                               int64_t count)
    window_axis window_forward_axis(int64_t taps, int64_t stride, int64_t pad, int64_t dilation, int64_t in_size,
                                    int64_t count)
    window_axis window_grad_axis(int64_t taps, int64_t stride, int64_t pad, int64_t dilation, int64_t in_size,
                                 int64_t size, int64_t phase, int64_t* last_tap, int64_t* back)
    window_span window_within(const window_axis* a, int64_t i)
