# Written by tools/make_structs.py from normengine/kernels/: change the records there.

cdef struct SharedMemory:
    float* scratch
    char* workspace
    int64_t workspace_stride


cdef struct Convolution:
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups


cdef struct Clamp:
    double low, high


cdef struct MatrixProduct:
    int64_t m, n, k


cdef struct Transposed:
    int64_t transpose_a, transpose_b


cdef struct Channels:
    int64_t n, c, s


cdef struct Normalization:
    double eps


cdef struct Reduction:
    int64_t r0, k0, r1, k1


cdef struct Repeat:
    int64_t m, c, r


cdef struct MaxPool:
    int64_t n, c, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w


cdef struct AvgPool:
    int64_t n, c, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, count_include_pad


cdef struct AdaptivePool:
    int64_t n, c, h, w, oh, ow


cdef struct First:
    int64_t bands, panels, sharing, few
    prefetcher* prefetcher


cdef struct Panel:
    int64_t first, blocks, in_first, in_end, span, vectors, weights


cdef struct Taps:
    int64_t taps, first, step, shift, shift_step


cdef struct Grid:
    int64_t height, width, out_row, out_col, out_step_h, out_step_w, run, weights, sources, targets, taps, rest, across
    int64_t apart
    Taps rows, cols


cdef struct Direct:
    prefetcher* prefetcher
    int64_t images, rows, bands, parts, chunk, copied, height, width, top, left, step_h, step_w, row, block, image, line
    int64_t tables, cleared, merged, made, absent, products, panel_count, grid_count


cdef struct Parts:
    int64_t parts


cdef struct Bands:
    int64_t parts, band


cdef struct PartialChunks:
    int64_t chunks, accumulate


cdef struct WeightSplit:
    int64_t lanes, sets, tiles, tile_parts, channel_parts, image_bands, row_bands, col_bands, together, copied, depth
    int64_t swapped, ahead, chunks, accumulate
    prefetcher* prefetcher


cdef struct WinogradSplit:
    int64_t m, tile_parts, channel_parts, chunk, far
    prefetcher* prefetcher


cdef struct WinogradSums:
    int64_t together, channel_parts, far, chunks, accumulate
    prefetcher* prefetcher


cdef struct Panels:
    int64_t row_parts, column_parts, depth, vectors, together, tiles_together, in_place, copied_row


cdef struct Dots:
    int64_t row_parts, column_parts, depth, tiles_together


cdef struct Rows:
    int64_t tasks


cdef struct Chunks:
    int64_t chunks


cdef struct ChannelSums:
    int64_t chunks
    Channels channels


cdef struct PrefetchedArray:
    float* start
    int64_t lines


cdef struct Prefetch:
    prefetcher* prefetcher
    int64_t group, end, rate, own, array_count


cdef struct FmaPeak:
    float* results
    int64_t rounds


cdef struct MemoryHalve:
    float* source
    float* halves
    int64_t floats


cdef struct Conv2dFirst:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    First extra


cdef struct Conv2dDirect:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    Direct extra


cdef struct Conv2dInputGradDirect:
    float* dy
    float* weight
    float* dx
    SharedMemory memory
    Convolution convolution
    Direct extra


cdef struct Conv2dParts:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    Parts extra


cdef struct Conv2dInputGradBands:
    float* dy
    float* weight
    float* dx
    SharedMemory memory
    Convolution convolution
    Bands extra


cdef struct Conv2dWeightGradPartialChunks:
    float* dy
    float* x
    float* dw
    SharedMemory memory
    Convolution convolution
    PartialChunks extra


cdef struct Conv2dWeightGradWeightSplit:
    float* dy
    float* x
    float* dw
    SharedMemory memory
    Convolution convolution
    WeightSplit extra


cdef struct Conv2dWinogradSplit:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    WinogradSplit extra


cdef struct Conv2dInputGradWinogradSplit:
    float* dy
    float* weight
    float* dx
    SharedMemory memory
    Convolution convolution
    WinogradSplit extra


cdef struct Conv2dWeightGradWinogradSums:
    float* dy
    float* x
    float* dw
    SharedMemory memory
    Convolution convolution
    WinogradSums extra


cdef struct LinearPanels:
    float* x
    float* weight
    float* bias
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Clamp clamp
    Panels extra


cdef struct LinearDots:
    float* x
    float* weight
    float* bias
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Clamp clamp
    Dots extra


cdef struct MatmulRows:
    float* a
    float* b
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Transposed transposed
    Rows extra


cdef struct MatmulPanels:
    float* a
    float* b
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Transposed transposed
    Panels extra


cdef struct MatmulDots:
    float* a
    float* b
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Transposed transposed
    Dots extra


cdef struct BatchStatsChunks:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels
    Chunks extra


cdef struct BatchNormGradSumsChunks:
    float* dy
    float* x
    float* mean
    float* var
    float* dweight
    float* dbias
    SharedMemory memory
    Channels channels
    Normalization normalization
    Chunks extra


cdef struct BatchStats:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels


cdef struct BatchNormGradSums:
    float* dy
    float* x
    float* mean
    float* var
    float* dweight
    float* dbias
    SharedMemory memory
    Channels channels
    Normalization normalization


cdef struct ReduceSum:
    float* x
    float* y
    SharedMemory memory
    Reduction reduction


cdef struct BatchStatsPartialChunks:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels
    PartialChunks extra


cdef struct ReduceSumChannelSums:
    float* x
    float* y
    SharedMemory memory
    Reduction reduction
    ChannelSums extra


cdef struct ToBlocked:
    float* x
    float* y
    SharedMemory memory
    Channels channels


cdef struct FromBlocked:
    float* x
    float* y
    SharedMemory memory
    Channels channels


cdef struct RepeatChannels:
    float* x
    float* y
    SharedMemory memory
    Repeat repeat


cdef struct MaxPool2dParts:
    float* x
    float* y
    SharedMemory memory
    MaxPool max_pool
    Parts extra


cdef struct MaxPool2dGrad:
    float* dy
    float* x
    float* dx
    SharedMemory memory
    MaxPool max_pool


cdef struct AvgPool2dParts:
    float* x
    float* y
    SharedMemory memory
    AvgPool avg_pool
    Parts extra


cdef struct AvgPool2dGrad:
    float* dy
    float* dx
    SharedMemory memory
    AvgPool avg_pool


cdef struct AdaptiveAvgPool2d:
    float* x
    float* y
    SharedMemory memory
    AdaptivePool adaptive_pool


cdef struct AdaptiveAvgPool2dGrad:
    float* dy
    float* dx
    SharedMemory memory
    AdaptivePool adaptive_pool


STRUCTS = {
    "SharedMemory": sizeof(SharedMemory),
    "Convolution": sizeof(Convolution),
    "Clamp": sizeof(Clamp),
    "MatrixProduct": sizeof(MatrixProduct),
    "Transposed": sizeof(Transposed),
    "Channels": sizeof(Channels),
    "Normalization": sizeof(Normalization),
    "Reduction": sizeof(Reduction),
    "Repeat": sizeof(Repeat),
    "MaxPool": sizeof(MaxPool),
    "AvgPool": sizeof(AvgPool),
    "AdaptivePool": sizeof(AdaptivePool),
    "First": sizeof(First),
    "Panel": sizeof(Panel),
    "Taps": sizeof(Taps),
    "Grid": sizeof(Grid),
    "Direct": sizeof(Direct),
    "Parts": sizeof(Parts),
    "Bands": sizeof(Bands),
    "PartialChunks": sizeof(PartialChunks),
    "WeightSplit": sizeof(WeightSplit),
    "WinogradSplit": sizeof(WinogradSplit),
    "WinogradSums": sizeof(WinogradSums),
    "Panels": sizeof(Panels),
    "Dots": sizeof(Dots),
    "Rows": sizeof(Rows),
    "Chunks": sizeof(Chunks),
    "ChannelSums": sizeof(ChannelSums),
    "PrefetchedArray": sizeof(PrefetchedArray),
    "Prefetch": sizeof(Prefetch),
    "FmaPeak": sizeof(FmaPeak),
    "MemoryHalve": sizeof(MemoryHalve),
    "Conv2dFirst": sizeof(Conv2dFirst),
    "Conv2dDirect": sizeof(Conv2dDirect),
    "Conv2dInputGradDirect": sizeof(Conv2dInputGradDirect),
    "Conv2dParts": sizeof(Conv2dParts),
    "Conv2dInputGradBands": sizeof(Conv2dInputGradBands),
    "Conv2dWeightGradPartialChunks": sizeof(Conv2dWeightGradPartialChunks),
    "Conv2dWeightGradWeightSplit": sizeof(Conv2dWeightGradWeightSplit),
    "Conv2dWinogradSplit": sizeof(Conv2dWinogradSplit),
    "Conv2dInputGradWinogradSplit": sizeof(Conv2dInputGradWinogradSplit),
    "Conv2dWeightGradWinogradSums": sizeof(Conv2dWeightGradWinogradSums),
    "LinearPanels": sizeof(LinearPanels),
    "LinearDots": sizeof(LinearDots),
    "MatmulRows": sizeof(MatmulRows),
    "MatmulPanels": sizeof(MatmulPanels),
    "MatmulDots": sizeof(MatmulDots),
    "BatchStatsChunks": sizeof(BatchStatsChunks),
    "BatchNormGradSumsChunks": sizeof(BatchNormGradSumsChunks),
    "BatchStats": sizeof(BatchStats),
    "BatchNormGradSums": sizeof(BatchNormGradSums),
    "ReduceSum": sizeof(ReduceSum),
    "BatchStatsPartialChunks": sizeof(BatchStatsPartialChunks),
    "ReduceSumChannelSums": sizeof(ReduceSumChannelSums),
    "ToBlocked": sizeof(ToBlocked),
    "FromBlocked": sizeof(FromBlocked),
    "RepeatChannels": sizeof(RepeatChannels),
    "MaxPool2dParts": sizeof(MaxPool2dParts),
    "MaxPool2dGrad": sizeof(MaxPool2dGrad),
    "AvgPool2dParts": sizeof(AvgPool2dParts),
    "AvgPool2dGrad": sizeof(AvgPool2dGrad),
    "AdaptiveAvgPool2d": sizeof(AdaptiveAvgPool2d),
    "AdaptiveAvgPool2dGrad": sizeof(AdaptiveAvgPool2dGrad),
}
