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


cdef struct Batches:
    int64_t products, inner, a_outer, a_inner, b_outer, b_inner


cdef struct Channels:
    int64_t n, c, s


cdef struct Groups:
    int64_t parts, images, groups, channels


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


cdef struct Resample:
    int64_t n, c, h, w, oh, ow, keeps_columns


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


cdef struct ImageSums:
    Channels channels


cdef struct Held:
    int64_t parts, held, entries, vectors


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


cdef struct Conv2dFirstF32:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    First extra


cdef struct Conv2dDirectF32:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    Direct extra


cdef struct Conv2dInputGradDirectF32:
    float* dy
    float* weight
    float* dx
    SharedMemory memory
    Convolution convolution
    Direct extra


cdef struct Conv2dPartsF32:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    Parts extra


cdef struct Conv2dInputGradBandsF32:
    float* dy
    float* weight
    float* dx
    SharedMemory memory
    Convolution convolution
    Bands extra


cdef struct Conv2dWeightGradPartialChunksF32:
    float* dy
    float* x
    float* dw
    SharedMemory memory
    Convolution convolution
    PartialChunks extra


cdef struct Conv2dWeightGradWeightSplitF32:
    float* dy
    float* x
    float* dw
    SharedMemory memory
    Convolution convolution
    WeightSplit extra


cdef struct Conv2dWinogradSplitF32:
    float* x
    float* weight
    float* bias
    float* residual
    float* y
    SharedMemory memory
    Convolution convolution
    Clamp clamp
    WinogradSplit extra


cdef struct Conv2dInputGradWinogradSplitF32:
    float* dy
    float* weight
    float* dx
    SharedMemory memory
    Convolution convolution
    WinogradSplit extra


cdef struct Conv2dWeightGradWinogradSumsF32:
    float* dy
    float* x
    float* dw
    SharedMemory memory
    Convolution convolution
    WinogradSums extra


cdef struct LinearPanelsF32:
    float* x
    float* weight
    float* bias
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Clamp clamp
    Panels extra


cdef struct LinearDotsF32:
    float* x
    float* weight
    float* bias
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Clamp clamp
    Dots extra


cdef struct MatmulRowsF32:
    float* a
    float* b
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Transposed transposed
    Batches batches
    Rows extra


cdef struct MatmulPanelsF32:
    float* a
    float* b
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Transposed transposed
    Batches batches
    Panels extra


cdef struct MatmulDotsF32:
    float* a
    float* b
    float* y
    SharedMemory memory
    MatrixProduct matrix_product
    Transposed transposed
    Batches batches
    Dots extra


cdef struct MomentsF32:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels


cdef struct NormalizeGradSumsF32:
    float* dy
    float* x
    float* mean
    float* weighted
    float* plain
    SharedMemory memory
    Channels channels


cdef struct GroupMeanF32:
    float* x
    float* y
    SharedMemory memory
    Groups groups


cdef struct BatchStatsChunksF32:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels
    Chunks extra


cdef struct BatchNormGradSumsChunksF32:
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


cdef struct BatchStatsF32:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels


cdef struct BatchNormGradSumsF32:
    float* dy
    float* x
    float* mean
    float* var
    float* dweight
    float* dbias
    SharedMemory memory
    Channels channels
    Normalization normalization


cdef struct ReduceSumF32:
    float* x
    float* y
    SharedMemory memory
    Reduction reduction


cdef struct BatchStatsPartialChunksF32:
    float* x
    float* mean
    float* var
    SharedMemory memory
    Channels channels
    PartialChunks extra


cdef struct ReduceSumChannelSumsF32:
    float* x
    float* y
    SharedMemory memory
    Reduction reduction
    ChannelSums extra


cdef struct ReduceSumImageSumsF32:
    float* x
    float* y
    SharedMemory memory
    Reduction reduction
    ImageSums extra


cdef struct SumImagesF32:
    float* x
    float* y
    SharedMemory memory
    Channels channels


cdef struct SumImagesPartialChunksF32:
    float* x
    float* y
    SharedMemory memory
    Channels channels
    PartialChunks extra


cdef struct ToBlockedF32:
    float* x
    float* y
    SharedMemory memory
    Channels channels


cdef struct FromBlockedF32:
    float* x
    float* y
    SharedMemory memory
    Channels channels


cdef struct RepeatChannelsF32:
    float* x
    float* y
    SharedMemory memory
    Repeat repeat


cdef struct MaxPool2dPartsF32:
    float* x
    float* y
    SharedMemory memory
    MaxPool max_pool
    Parts extra


cdef struct MaxPool2dGradF32:
    float* dy
    float* x
    float* dx
    SharedMemory memory
    MaxPool max_pool


cdef struct AvgPool2dPartsF32:
    float* x
    float* y
    SharedMemory memory
    AvgPool avg_pool
    Parts extra


cdef struct AvgPool2dGradF32:
    float* dy
    float* dx
    SharedMemory memory
    AvgPool avg_pool


cdef struct AdaptiveAvgPool2dF32:
    float* x
    float* y
    SharedMemory memory
    AdaptivePool adaptive_pool


cdef struct AdaptiveAvgPool2dGradF32:
    float* dy
    float* dx
    SharedMemory memory
    AdaptivePool adaptive_pool


cdef struct Resample2dHeldF32:
    float* x
    int64_t* row_taps
    float* row_weights
    int64_t* column_taps
    float* column_weights
    float* y
    SharedMemory memory
    Resample resample
    Held extra


STRUCTS = {
    "SharedMemory": sizeof(SharedMemory),
    "Convolution": sizeof(Convolution),
    "Clamp": sizeof(Clamp),
    "MatrixProduct": sizeof(MatrixProduct),
    "Transposed": sizeof(Transposed),
    "Batches": sizeof(Batches),
    "Channels": sizeof(Channels),
    "Groups": sizeof(Groups),
    "Normalization": sizeof(Normalization),
    "Reduction": sizeof(Reduction),
    "Repeat": sizeof(Repeat),
    "MaxPool": sizeof(MaxPool),
    "AvgPool": sizeof(AvgPool),
    "AdaptivePool": sizeof(AdaptivePool),
    "Resample": sizeof(Resample),
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
    "ImageSums": sizeof(ImageSums),
    "Held": sizeof(Held),
    "PrefetchedArray": sizeof(PrefetchedArray),
    "Prefetch": sizeof(Prefetch),
    "FmaPeak": sizeof(FmaPeak),
    "MemoryHalve": sizeof(MemoryHalve),
    "Conv2dFirstF32": sizeof(Conv2dFirstF32),
    "Conv2dDirectF32": sizeof(Conv2dDirectF32),
    "Conv2dInputGradDirectF32": sizeof(Conv2dInputGradDirectF32),
    "Conv2dPartsF32": sizeof(Conv2dPartsF32),
    "Conv2dInputGradBandsF32": sizeof(Conv2dInputGradBandsF32),
    "Conv2dWeightGradPartialChunksF32": sizeof(Conv2dWeightGradPartialChunksF32),
    "Conv2dWeightGradWeightSplitF32": sizeof(Conv2dWeightGradWeightSplitF32),
    "Conv2dWinogradSplitF32": sizeof(Conv2dWinogradSplitF32),
    "Conv2dInputGradWinogradSplitF32": sizeof(Conv2dInputGradWinogradSplitF32),
    "Conv2dWeightGradWinogradSumsF32": sizeof(Conv2dWeightGradWinogradSumsF32),
    "LinearPanelsF32": sizeof(LinearPanelsF32),
    "LinearDotsF32": sizeof(LinearDotsF32),
    "MatmulRowsF32": sizeof(MatmulRowsF32),
    "MatmulPanelsF32": sizeof(MatmulPanelsF32),
    "MatmulDotsF32": sizeof(MatmulDotsF32),
    "MomentsF32": sizeof(MomentsF32),
    "NormalizeGradSumsF32": sizeof(NormalizeGradSumsF32),
    "GroupMeanF32": sizeof(GroupMeanF32),
    "BatchStatsChunksF32": sizeof(BatchStatsChunksF32),
    "BatchNormGradSumsChunksF32": sizeof(BatchNormGradSumsChunksF32),
    "BatchStatsF32": sizeof(BatchStatsF32),
    "BatchNormGradSumsF32": sizeof(BatchNormGradSumsF32),
    "ReduceSumF32": sizeof(ReduceSumF32),
    "BatchStatsPartialChunksF32": sizeof(BatchStatsPartialChunksF32),
    "ReduceSumChannelSumsF32": sizeof(ReduceSumChannelSumsF32),
    "ReduceSumImageSumsF32": sizeof(ReduceSumImageSumsF32),
    "SumImagesF32": sizeof(SumImagesF32),
    "SumImagesPartialChunksF32": sizeof(SumImagesPartialChunksF32),
    "ToBlockedF32": sizeof(ToBlockedF32),
    "FromBlockedF32": sizeof(FromBlockedF32),
    "RepeatChannelsF32": sizeof(RepeatChannelsF32),
    "MaxPool2dPartsF32": sizeof(MaxPool2dPartsF32),
    "MaxPool2dGradF32": sizeof(MaxPool2dGradF32),
    "AvgPool2dPartsF32": sizeof(AvgPool2dPartsF32),
    "AvgPool2dGradF32": sizeof(AvgPool2dGradF32),
    "AdaptiveAvgPool2dF32": sizeof(AdaptiveAvgPool2dF32),
    "AdaptiveAvgPool2dGradF32": sizeof(AdaptiveAvgPool2dGradF32),
    "Resample2dHeldF32": sizeof(Resample2dHeldF32),
}
