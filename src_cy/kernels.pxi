# Every kernel of one instruction set, and where its module says what it has.

include "arguments.pxi"
include "prefetch.pxi"
include "window.pxi"
include "conv_direct_weight.pxi"
include "conv_taps_weight.pxi"
include "conv_packed_weight.pxi"
include "conv_direct.pxi"
include "conv_absent.pxi"
include "conv_direct_pack.pxi"
include "depthwise.pxi"
include "first_layer.pxi"
include "matmul.pxi"
include "norm.pxi"
include "pool.pxi"
include "norm_blocked.pxi"
include "reorder.pxi"
include "repeat.pxi"
include "resample.pxi"
include "winograd.pxi"
include "winograd_weight.pxi"

cdef extern from "machine.h" nogil:
    const int FMA_SUMS
    float fma_rounds(int64_t rounds)
    void c_memory_halve "memory_halve" (float* to, const float* source, int64_t count)

ctypedef void (*Kernel)(const int64_t*, int64_t, int64_t, int64_t) noexcept nogil


cdef object address(Kernel function):
    return <size_t> function


cdef void fma_peak(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # No operator's kernel, but what the CPU can do at most: rounds of FMA_SUMS vectors of multiply-adds.
    cdef const FmaPeak* a = <const FmaPeak*> args
    cdef int64_t task
    for task in range(begin, end):
        a.results[task] = fma_rounds(a.rounds)


cdef void memory_halve(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # Likewise: bytes from and to memory.
    cdef const MemoryHalve* a = <const MemoryHalve*> args
    cdef int64_t task
    for task in range(begin, end):
        c_memory_halve(a.halves + task * a.floats, a.source + task * a.floats, a.floats)


include "kernel_addresses.pxi"

# What sizes of blocks and of packed arrays follow from.
SIZES = {
    "width": SIMD_WIDTH,
    "fma_sums": FMA_SUMS,
    "tile_vectors": TILE_VECTORS,
    "tile_held": TILE_HELD,
    "tile_pixels_1": TILE_PIXELS(1),
    "tile_pixels_2": TILE_PIXELS(2),
    "tile_pixels_3": TILE_PIXELS(3),
    "tile_pixels_4": TILE_PIXELS(4),
    "tile_row_pixels_1": TILE_ROW_PIXELS(1),
    "tile_row_pixels_2": TILE_ROW_PIXELS(2),
    "tile_row_pixels_3": TILE_ROW_PIXELS(3),
    "tile_row_pixels_4": TILE_ROW_PIXELS(4),
    "tile_least_row_1": TILE_LEAST_ROW(1),
    "tile_least_row_2": TILE_LEAST_ROW(2),
    "tile_least_row_3": TILE_LEAST_ROW(3),
    "tile_least_row_4": TILE_LEAST_ROW(4),
    "taps_together": TAPS_TOGETHER,
    "first_run": FIRST_RUN,
    "first_channels": FIRST_CHANNELS,
    "first_sums": FIRST_SUMS,
    "first_vectors": FIRST_MOST_VECTORS,
    "first_pixels": sizeof(first_pixels),
    "taps_pixels_1": TAPS_PIXELS(1),
    "taps_pixels_2": TAPS_PIXELS(2),
    "taps_pixels_3": TAPS_PIXELS(3),
    "taps_pixels_4": TAPS_PIXELS(4),
    "outer_blocks": OUTER_BLOCKS,
    "outer_rows_1": OUTER_ROWS(1),
    "outer_rows_2": OUTER_ROWS(2),
    "outer_rows_3": OUTER_ROWS(3),
    "outer_row": sizeof(outer_row),
    "merged_rows": MERGED_ROWS,
    "matrix_rows": MATRIX_ROWS,
    "matrix_vectors_1": matrix_vectors(1),
    "matrix_vectors_2": matrix_vectors(2),
    "matrix_vectors_3": matrix_vectors(3),
    "matrix_vectors_4": matrix_vectors(4),
    "matrix_vectors_5": matrix_vectors(5),
    "matrix_vectors_6": matrix_vectors(6),
    "dot_rows": DOT_ROWS,
    "dot_columns": DOT_COLS,
    "moments": sizeof(Moments),
    "lane_moments": sizeof(lane_moments),
    "lane_totals": sizeof(lane_totals),
    "reorder_pixels": REORDER_PIXELS,
    "resample_held": RESAMPLE_HELD,
    "resample_entries": RESAMPLE_ENTRIES,
    "resample_permutes": RESAMPLE_PERMUTES,
    "window_axis": sizeof(window_axis),
    "sum_columns": COLUMNS,
    "channels_together": TOGETHER,
    "winograd_tiles": WINOGRAD_TILES,
    "winograd_group": WINOGRAD_GROUP,
    "prefetcher": sizeof(prefetcher),
    "prefetch_parts": PREFETCH_PARTS,
    "prefetch_rate": PREFETCH_RATE,
}
