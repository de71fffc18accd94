# The weight gradient of kernels of stride 1 by Winograd's F(3 x 3, 4 x 4) and F(5 x 5, 2 x 2), on arrays in blocks of
# channels.

cdef extern from "winograd_weight.h" nogil:
    const int WINOGRAD_HALF
    const int WINOGRAD_GROUP
    const int WINOGRAD_ROWS
    void winograd_make_sums(int64_t pair, const winograd_map* map, const float* x, const float* dy, int64_t first,
                            int64_t end, int64_t next_first, int64_t all, int64_t together, int64_t first_block,
                            int64_t end_block, int64_t later, float* sums, int64_t sums_step, float* memory,
                            prefetcher* given)
    void winograd_make_gradient_kernels(int64_t r, const float* sums, int64_t sums_step, int64_t row_step,
                                        int64_t chunks, int64_t chunk_step, int64_t rows, int64_t lanes, float* dw,
                                        int64_t out_step)


cdef struct WinogradMemory:
    # A part of dy's blocks and where its sums lie: [part][chunk][point][block of x][row tile][block of dy][row][V], the
    # points sums_step floats apart and the chunks chunk_step.
    int64_t first_block, end_block, start, sums_step, chunk_step


cdef WinogradMemory winograd_part(const winograd_map* map, const WinogradSums* split, int64_t part) noexcept nogil:
    cdef WinogradMemory m
    cdef int64_t block = map.in_blocks * SIMD_WIDTH * SIMD_WIDTH, line = 64 // sizeof(float), points = 3 * WINOGRAD_HALF
    m.first_block = share(map.out_blocks, split.channel_parts, part)
    m.end_block = share(map.out_blocks, split.channel_parts, part + 1)
    m.sums_step = (m.end_block - m.first_block) * block + line
    m.chunk_step = points * m.sums_step
    m.start = (m.first_block * block + part * line) * points * split.chunks
    return m


cdef winograd_map winograd_gradient_tiles(const Convolution* p) noexcept nogil:
    # m + r - 1 is six.
    return winograd_tiles_of(7 - p.kh, p.kh, p.c, p.h, p.w, p.oc, p.oh, p.ow, p.pad_top, p.pad_left)


cdef void conv2d_weight_grad_winograd(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task sums one pair of rows of points over one part of the tiles, for one part of the blocks of dy.
    cdef const Conv2dWeightGradWinogradSumsF32* a = <const Conv2dWeightGradWinogradSumsF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const WinogradSums* split = &a.extra
    cdef winograd_map map = winograd_gradient_tiles(p)
    cdef int64_t tiles = p.n * map.tile_rows * map.tile_cols, all = tiles if split.far else 0
    cdef int64_t task, pair, rest, chunk, first, last, after
    cdef WinogradMemory part
    cdef float* sums
    cdef float* memory = workspace_of(&a.memory, thread)
    for task in range(begin, end):
        pair, rest = task % 3, task // 3
        chunk = rest % split.chunks
        part = winograd_part(&map, split, rest // split.chunks)
        first, last = share(tiles, split.chunks, chunk), share(tiles, split.chunks, chunk + 1)
        after = first if pair < 2 else last
        sums = a.memory.scratch + part.start + chunk * part.chunk_step + pair * WINOGRAD_HALF * part.sums_step
        winograd_make_sums(pair, &map, a.x, a.dy, first, last, after, all, split.together,
                           part.first_block, part.end_block, split.accumulate, sums, part.sums_step, memory,
                           split.prefetcher)


cdef void conv2d_weight_grad_winograd_taps(const int64_t* args, int64_t begin, int64_t end,
                                           int64_t thread) noexcept nogil:
    # A task makes the kernels between one block of input channels and one of output channels.
    cdef const Conv2dWeightGradWinogradSumsF32* a = <const Conv2dWeightGradWinogradSumsF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const WinogradSums* split = &a.extra
    cdef winograd_map map = winograd_gradient_tiles(p)
    cdef int64_t task, x_block, dy_block, number, row_step, blocks, taps = p.kh * p.kw
    cdef WinogradMemory part
    for task in range(begin, end):
        x_block, dy_block = task % map.in_blocks, task // map.in_blocks
        number = 0
        part = winograd_part(&map, split, number)
        while part.end_block <= dy_block:
            number += 1
            part = winograd_part(&map, split, number)
        blocks = part.end_block - part.first_block
        row_step = blocks * WINOGRAD_ROWS * SIMD_WIDTH
        winograd_make_gradient_kernels(
            p.kh, a.memory.scratch + part.start + x_block * blocks * SIMD_WIDTH * SIMD_WIDTH
            + (dy_block - part.first_block) * WINOGRAD_ROWS * SIMD_WIDTH,
            part.sums_step, row_step, split.chunks, part.chunk_step, least(SIMD_WIDTH, p.c - x_block * SIMD_WIDTH),
            least(SIMD_WIDTH, p.oc - dy_block * SIMD_WIDTH),
            a.dw + (dy_block * SIMD_WIDTH * p.c + x_block * SIMD_WIDTH) * taps, p.c * taps)
