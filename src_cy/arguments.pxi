# What every kernel uses: its arguments, sizes of the register tile, and whole-number arithmetic.

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

cdef extern from "product.h" nogil:
    const int SIMD_WIDTH
    const int TILE_ROWS
    const int TILE_COLS
    const int PANEL_PIXELS
    const int PANEL_PITCH
    void product_packed(int64_t rows, int64_t vectors, int64_t depth, const float* a, const float* b, float* out,
                        int64_t out_pitch, const float* bias, int64_t accumulate)
    void product_rows(int64_t rows, int64_t depth, const float* a, const float* b, float* out, int64_t out_pitch,
                      int64_t accumulate)


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


cdef inline int64_t floor_div(int64_t a, int64_t b) noexcept nogil:
    return a // b if a >= 0 else -((b - 1 - a) // b)


cdef struct Strips:
    # Rows in nearly equal parts: tiles first..end of those that a task does, each of ``size`` rows and the first
    # ``larger`` of one more.
    int64_t first, end, size, larger


cdef inline Strips strips(int64_t rows) noexcept nogil:
    cdef Strips s
    s.first, s.end = 0, ceil_div(rows, TILE_ROWS)
    s.size, s.larger = rows // s.end, rows % s.end
    return s


cdef inline int64_t strip_start(const Strips* s, int64_t tile) noexcept nogil:
    return tile * s.size + least(tile, s.larger)
