# What every kernel uses: its arguments and whole-number arithmetic.

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

cdef extern from "simd.h" nogil:
    const int SIMD_WIDTH
    void transpose(float* to, int64_t to_pitch, int64_t width, const float* values, int64_t from_pitch, int64_t rows,
                   int64_t cols)


cdef inline float* array(const int64_t* args, int64_t slot) noexcept nogil:
    return <float*> args[slot]


cdef inline float* workspace(const int64_t* args, int64_t slot, int64_t thread) noexcept nogil:
    # ``slot`` is that of ``workspace``; its stride follows.
    return <float*> (args[slot] + thread * args[slot + 1])


cdef inline int64_t ceil_div(int64_t a, int64_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline int64_t least(int64_t a, int64_t b) noexcept nogil:
    return a if a < b else b


cdef inline int64_t most(int64_t a, int64_t b) noexcept nogil:
    return a if a > b else b


cdef inline int64_t share(int64_t total, int64_t parts, int64_t part) noexcept nogil:
    # Where the given one of ``parts`` nearly equal parts of 0..total starts.
    return total * part // parts


cdef inline int64_t whole_lines(int64_t nbytes) noexcept nogil:
    # At least so many bytes, whole lines of a cache.
    return ceil_div(nbytes, 64) * 64


cdef struct Numbers:
    # The parameters of a convolution's signature, in their order.
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
