# Convolution with kernels of stride 1, and its input gradient, by Winograd's F(m x m, r x r) on arrays in blocks of
# channels: F(4, 3), F(2, 3) and F(2, 5). The input gradient is the convolution of dy with the kernel turned and the
# channels exchanged.

cdef extern from "winograd_tiles.h" nogil:
    const int WINOGRAD_TILES
    ctypedef struct winograd_map:
        int64_t m, r, in_blocks, in_h, in_w, out_blocks, out_h, out_w, top, left, tile_rows, tile_cols
    ctypedef struct winograd_epilogue:
        const float* bias
        const float* residual
        double low, high
        int64_t channels
    void winograd_make_kernels(int64_t m, int64_t r, int turned, const float* weight, int64_t out_step, int64_t in_step,
                               int64_t out_channels, int64_t in_channels, int64_t block, float* kernels,
                               int64_t kernel_step)
    void winograd_make_tiles(const winograd_map* map, const winograd_epilogue* epilogue, const float* x,
                             const float* kernels, int64_t kernel_step, int64_t first, int64_t end, int64_t next_end,
                             int64_t first_block, int64_t end_block, int64_t chunk, float* y, float* memory,
                             prefetcher* given)


cdef winograd_map winograd_tiles_of(int64_t m, int64_t r, int64_t in_channels, int64_t in_h, int64_t in_w,
                                    int64_t out_channels, int64_t out_h, int64_t out_w, int64_t top,
                                    int64_t left) noexcept nogil:
    cdef winograd_map map
    map.m, map.r = m, r
    map.in_blocks, map.in_h, map.in_w = ceil_div(in_channels, SIMD_WIDTH), in_h, in_w
    map.out_blocks, map.out_h, map.out_w = ceil_div(out_channels, SIMD_WIDTH), out_h, out_w
    map.top, map.left = top, left
    map.tile_rows, map.tile_cols = ceil_div(out_h, m), ceil_div(out_w, m)
    return map


cdef int64_t winograd_kernel_step(int64_t in_channels, int64_t out_channels) noexcept nogil:
    # One line of a cache more than the kernels need, so that a kernel's points do not share a set of the cache.
    return (ceil_div(in_channels, SIMD_WIDTH) * ceil_div(out_channels, SIMD_WIDTH) * SIMD_WIDTH * SIMD_WIDTH
            + 64 // sizeof(float))


cdef void winograd_convolve(const winograd_map* map, const winograd_epilogue* epilogue, const WinogradSplit* split,
                            int64_t images, const float* x, const float* kernels, int64_t kernel_step, float* y,
                            int64_t begin, int64_t end, float* memory) noexcept nogil:
    # A task makes one part of the tiles in one part of the channels.
    cdef int64_t tiles = images * map.tile_rows * map.tile_cols, groups = ceil_div(tiles, WINOGRAD_TILES)
    cdef int64_t pairs = ceil_div(map.out_blocks, 2), task, part, first, last, next_last, first_block, end_block
    for task in range(begin, end):
        part = task // split.channel_parts
        first = share(groups, split.tile_parts, part) * WINOGRAD_TILES
        last = least(tiles, share(groups, split.tile_parts, part + 1) * WINOGRAD_TILES)
        next_last = 0
        if split.far:
            next_last = last
            if task % split.channel_parts == split.channel_parts - 1 and part + 1 < split.tile_parts:
                next_last = least(tiles, share(groups, split.tile_parts, part + 2) * WINOGRAD_TILES)
        part = task % split.channel_parts
        first_block = 2 * share(pairs, split.channel_parts, part)
        end_block = least(map.out_blocks, 2 * share(pairs, split.channel_parts, part + 1))
        winograd_make_tiles(map, epilogue, x, kernels, kernel_step, first, last, next_last, first_block, end_block,
                            split.chunk, y, memory, split.prefetcher)


cdef void conv2d_winograd_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task transforms the kernels of one block of output channels.
    cdef const Conv2dWinogradSplitF32* a = <const Conv2dWinogradSplitF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const WinogradSplit* split = &a.extra
    cdef int64_t step = winograd_kernel_step(p.c, p.oc), taps = p.kh * p.kw, task
    for task in range(begin, end):
        winograd_make_kernels(split.m, p.kh, 0, a.weight, p.c * taps, taps, p.oc, p.c, task, a.memory.scratch, step)


cdef void conv2d_winograd(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Conv2dWinogradSplitF32* a = <const Conv2dWinogradSplitF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const WinogradSplit* split = &a.extra
    cdef winograd_map map = winograd_tiles_of(split.m, p.kh, p.c, p.h, p.w, p.oc, p.oh, p.ow, p.pad_top,
                                              p.pad_left)
    cdef winograd_epilogue epilogue
    epilogue.bias, epilogue.residual, epilogue.channels = a.bias, a.residual, p.oc
    epilogue.low, epilogue.high = a.clamp.low, a.clamp.high
    winograd_convolve(&map, &epilogue, split, p.n, a.x, a.memory.scratch, winograd_kernel_step(p.c, p.oc),
                      a.y, begin, end, workspace_of(&a.memory, thread))


cdef void conv2d_input_grad_winograd_pack(const int64_t* args, int64_t begin, int64_t end,
                                          int64_t thread) noexcept nogil:
    # A task transforms the turned kernels of one block of input channels.
    cdef const Conv2dInputGradWinogradSplitF32* a = <const Conv2dInputGradWinogradSplitF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const WinogradSplit* split = &a.extra
    cdef int64_t step = winograd_kernel_step(p.oc, p.c), taps = p.kh * p.kw, task
    for task in range(begin, end):
        winograd_make_kernels(split.m, p.kh, 1, a.weight, taps, p.c * taps, p.c, p.oc, task, a.memory.scratch, step)


cdef void conv2d_input_grad_winograd(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Conv2dInputGradWinogradSplitF32* a = <const Conv2dInputGradWinogradSplitF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const WinogradSplit* split = &a.extra
    cdef winograd_map map = winograd_tiles_of(split.m, p.kh, p.oc, p.oh, p.ow, p.c, p.h, p.w,
                                              p.kh - 1 - p.pad_top, p.kw - 1 - p.pad_left)
    cdef winograd_epilogue epilogue
    epilogue.bias, epilogue.residual, epilogue.channels = NULL, NULL, p.c
    epilogue.low, epilogue.high = -INFINITY, INFINITY
    winograd_convolve(&map, &epilogue, split, p.n, a.dy, a.memory.scratch, winograd_kernel_step(p.oc, p.c),
                      a.dx, begin, end, workspace_of(&a.memory, thread))
