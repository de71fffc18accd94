# What every kernel uses: whole-number arithmetic, and its arguments, whose structs tools/make_structs.py writes.

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

cdef extern from "simd.h" nogil:
    const int SIMD_WIDTH
    void transpose(float* to, int64_t to_pitch, int64_t width, const float* values, int64_t from_pitch, int64_t rows,
                   int64_t cols)


cdef extern from "prefetch.h" nogil:
    const int PREFETCH_LINE
    const int PREFETCH_PARTS
    const int64_t PREFETCH_RATE
    ctypedef struct prefetcher:
        int64_t now, count, line, rate, credit
    void prefetch_add(prefetcher* s, const float* at, int64_t apart, int64_t runs, int64_t lines)
    void prefetch_spread(prefetcher* s, int64_t products)
    void prefetch_step(prefetcher* s, int64_t products)


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


include "kernel_structs.pxi"


cdef inline float* workspace_of(const SharedMemory* memory, int64_t thread) noexcept nogil:
    # The thread's own.
    return <float*> (memory.workspace + thread * memory.workspace_stride)
