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
    # No operator's kernel, but what the CPU can do at most: args = array of a float for each task, rounds of
    # FMA_SUMS vectors of multiply-adds.
    cdef int64_t task
    for task in range(begin, end):
        array(args, 0)[task] = fma_rounds(args[1])


cdef void memory_halve(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # Likewise: args = array to read, array to write, floats a task.
    cdef int64_t task
    for task in range(begin, end):
        c_memory_halve(array(args, 1) + task * args[2], array(args, 0) + task * args[2], args[2])


ADDRESSES = {
    "prefetch": address(prefetch),
    "depthwise_blocked_pack": address(depthwise_blocked_pack),
    "depthwise_blocked": address(depthwise_blocked),
    "depthwise_blocked_input_grad_pack": address(depthwise_blocked_input_grad_pack),
    "depthwise_blocked_input_grad": address(depthwise_blocked_input_grad),
    "depthwise_blocked_weight_grad": address(depthwise_blocked_weight_grad),
    "depthwise_blocked_weight_grad_merge": address(depthwise_blocked_weight_grad_merge),
    "fma_peak": address(fma_peak),
    "memory_halve": address(memory_halve),
    "conv2d_direct_pack": address(conv2d_direct_pack),
    "conv2d_direct": address(conv2d_direct),
    "conv2d_input_grad_direct_pack": address(conv2d_input_grad_direct_pack),
    "conv2d_input_grad_direct": address(conv2d_input_grad_direct),
    "conv2d_first_pack": address(conv2d_first_pack),
    "conv2d_first": address(conv2d_first),
    "conv2d_weight_grad_direct": address(conv2d_weight_grad_direct),
    "conv2d_weight_grad_merge_direct": address(conv2d_weight_grad_merge_direct),
    "conv2d_weight_grad_taps": address(conv2d_weight_grad_taps),
    "conv2d_weight_grad_merge_taps": address(conv2d_weight_grad_merge_taps),
    "conv2d_weight_grad_packed": address(conv2d_weight_grad_packed),
    "conv2d_weight_grad_merge_packed": address(conv2d_weight_grad_merge_packed),
    "linear_panels": address(linear_panels),
    "linear_dots": address(linear_dots),
    "matmul_panels": address(matmul_panels),
    "matmul_dots": address(matmul_dots),
    "matmul_terms": address(matmul_terms),
    "batch_stats_chunk": address(batch_stats_chunk),
    "batch_stats_merge": address(batch_stats_merge),
    "batch_norm_grad_sums_chunk": address(batch_norm_grad_sums_chunk),
    "batch_norm_grad_sums_merge": address(batch_norm_grad_sums_merge),
    "batch_stats_columns": address(batch_stats_columns),
    "batch_norm_grad_sums_columns": address(batch_norm_grad_sums_columns),
    "reduce_sum": address(reduce_sum),
    "repeat_channels": address(repeat_channels),
    "to_blocked": address(to_blocked),
    "from_blocked": address(from_blocked),
    "batch_stats_blocked": address(batch_stats_blocked),
    "batch_stats_blocked_merge": address(batch_stats_blocked_merge),
    "batch_norm_grad_sums_blocked": address(batch_norm_grad_sums_blocked),
    "batch_norm_grad_sums_blocked_merge": address(batch_norm_grad_sums_blocked_merge),
    "channel_sums_blocked": address(channel_sums_blocked),
    "channel_sums_blocked_merge": address(channel_sums_blocked_merge),
    "max_pool2d_blocked": address(max_pool2d_blocked),
    "max_pool2d_grad_blocked": address(max_pool2d_grad_blocked),
    "avg_pool2d_blocked": address(avg_pool2d_blocked),
    "avg_pool2d_grad_blocked": address(avg_pool2d_grad_blocked),
    "adaptive_avg_pool2d_blocked": address(adaptive_avg_pool2d_blocked),
    "adaptive_avg_pool2d_grad_blocked": address(adaptive_avg_pool2d_grad_blocked),
    "conv2d_winograd_pack": address(conv2d_winograd_pack),
    "conv2d_winograd": address(conv2d_winograd),
    "conv2d_input_grad_winograd_pack": address(conv2d_input_grad_winograd_pack),
    "conv2d_input_grad_winograd": address(conv2d_input_grad_winograd),
    "conv2d_weight_grad_winograd": address(conv2d_weight_grad_winograd),
    "conv2d_weight_grad_winograd_taps": address(conv2d_weight_grad_winograd_taps),
}

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
    "window_axis": sizeof(window_axis),
    "sum_columns": COLUMNS,
    "channels_together": TOGETHER,
    "winograd_tiles": WINOGRAD_TILES,
    "winograd_group": WINOGRAD_GROUP,
}
