# Convolution and its input gradient as implicit matrix products: rows are the channels that are made, columns are
# pixels of a grid, and the reduction runs over (tap row, tap column, channel read).

from libc.stdint cimport int32_t, int64_t

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

cdef extern from "pixels.h" nogil:
    ctypedef struct pixels:
        pass
    void pixels_place(pixels* p, int64_t first, int64_t end, int64_t grid_w, int64_t step_h, int64_t step_w,
                      int64_t in_w)
    void pixels_gather(const pixels* p, float* to, int64_t pitch, const float* x, int64_t size, int64_t plane,
                       int64_t in_h, int64_t in_w, int64_t channels, int64_t shift_h, int64_t shift_w)


cdef struct Numbers:
    # The parameters of a convolution's signature, in their order, and those that follow.
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
    int64_t extra[4]


cdef struct Taps:
    # The taps of one axis that reach a grid of pixels: pixel i reads position i * step + shift + t * shift_step for
    # t < count, through tap first + t * tap_step of the kernel.
    int64_t count, first, tap_step, shift, shift_step


cdef struct Grid:
    # Where a grid's pixels are read from and written to. Channels are those of one group.
    Taps rows, cols
    int64_t height, width, step_h, step_w
    int64_t channels, in_h, in_w
    int64_t out_area, out_w, out_row, out_col, out_step_h, out_step_w


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


cdef Taps forward_taps(int64_t kernel, int64_t pad, int64_t dilation) noexcept nogil:
    cdef Taps t
    t.count, t.first, t.tap_step, t.shift, t.shift_step = kernel, 0, 1, -pad, dilation
    return t


cdef Taps phase_taps(int64_t kernel, int64_t stride, int64_t pad, int64_t dilation, int64_t phase) noexcept nogil:
    # Input position i * stride + phase takes output position (i * stride + phase + pad - k * dilation) / stride from
    # every tap k for which that is whole.
    cdef Taps t
    cdef int64_t a = stride, b = dilation, r
    while b:
        a, b = b, a % b
    t.tap_step = stride // a
    t.shift_step = -(dilation // a)
    t.first = 0
    while t.first < least(t.tap_step, kernel) and (phase + pad - t.first * dilation) % stride != 0:
        t.first += 1
    if t.first >= least(t.tap_step, kernel):
        t.count = 0
        t.first = 0
        t.shift = 0
    else:
        t.count = ceil_div(kernel - t.first, t.tap_step)
        t.shift = (phase + pad - t.first * dilation) // stride
    return t


cdef void multiply_tile(const Grid* g, const int64_t* blocks, const float* packed, int64_t rows, int64_t depth_first,
                        int64_t depth_end, const float* panel, float* out, int64_t pixel, int64_t end,
                        const float* bias) noexcept nogil:
    # One tile of pixels (from ``pixel``, below ``end``) of the given channels, over a part of the depth. Channel rows
    # are split in ``blocks[0]``..``blocks[1]`` of ``blocks[2]`` tiles.
    cdef int64_t tile, r, first, count, l, at, i, j
    cdef int64_t depth = g.rows.count * g.cols.count * g.channels
    cdef int64_t lanes = least(TILE_COLS, end - pixel)
    cdef int64_t vectors = 1 if lanes <= SIMD_WIDTH else 2
    cdef bint direct = g.out_step_w == 1 and g.out_step_h == 1 and lanes == vectors * SIMD_WIDTH and g.width == g.out_w
    cdef float buffer[16 * 32]
    cdef int64_t target[32]
    if not direct:
        i, j = pixel // g.width, pixel % g.width
        for l in range(lanes):
            target[l] = (i * g.out_step_h + g.out_row) * g.out_w + j * g.out_step_w + g.out_col
            j += 1
            if j == g.width:
                j = 0
                i += 1
    for tile in range(blocks[0], blocks[1]):
        first = share(rows, blocks[2], tile)
        count = share(rows, blocks[2], tile + 1) - first
        if direct:
            product_packed(count, vectors, depth_end - depth_first,
                           packed + (tile * depth + depth_first) * TILE_ROWS, panel,
                           out + first * g.out_area + pixel, g.out_area, bias + first if bias else NULL,
                           depth_first > 0)
            continue
        if depth_first > 0:
            for r in range(count):
                for l in range(lanes):
                    buffer[r * TILE_COLS + l] = out[(first + r) * g.out_area + target[l]]
        product_packed(count, vectors, depth_end - depth_first, packed + (tile * depth + depth_first) * TILE_ROWS,
                       panel, buffer, TILE_COLS, bias + first if bias else NULL, depth_first > 0)
        for r in range(count):
            for l in range(lanes):
                out[(first + r) * g.out_area + target[l]] = buffer[r * TILE_COLS + l]


cdef void gather_panel(const Grid* g, const pixels* p, float* panel, int64_t pitch, int64_t depth_first,
                       int64_t depth_end, const float* x, int64_t size, int64_t plane) noexcept nogil:
    # The rows depth_first..depth_end of the im2col matrix for one vector of pixels.
    cdef int64_t k = depth_first, tap, channel, count, area = g.in_h * g.in_w
    while k < depth_end:
        tap = k // g.channels
        channel = k % g.channels
        count = least(g.channels - channel, depth_end - k)
        pixels_gather(p, panel + (k - depth_first) * pitch, pitch, x, size, plane + channel * area, g.in_h, g.in_w,
                      count, g.rows.shift + tap // g.cols.count * g.rows.shift_step,
                      g.cols.shift + tap % g.cols.count * g.cols.shift_step)
        k += count


cdef void multiply_block(const Grid* g, const int64_t* blocks, const float* packed, int64_t rows,
                         int64_t depth_block, const float* x, int64_t size, int64_t plane, float* out, int64_t first,
                         int64_t end, const float* bias, float* panel) noexcept nogil:
    # The pixels first..end of one image and group: the panel of a tile and a block of the depth at a time.
    cdef int64_t depth = g.rows.count * g.cols.count * g.channels
    cdef int64_t depth_first = 0, depth_end, pixel
    cdef pixels place[2]
    while True:
        depth_end = least(depth_first + depth_block, depth)
        pixel = first
        while pixel < end:
            pixels_place(&place[0], pixel, end, g.width, g.step_h, g.step_w, g.in_w)
            gather_panel(g, &place[0], panel, TILE_COLS, depth_first, depth_end, x, size, plane)
            if pixel + SIMD_WIDTH < end:
                pixels_place(&place[1], pixel + SIMD_WIDTH, end, g.width, g.step_h, g.step_w, g.in_w)
                gather_panel(g, &place[1], panel + SIMD_WIDTH, TILE_COLS, depth_first, depth_end, x, size, plane)
            multiply_tile(g, blocks, packed, rows, depth_first, depth_end, panel, out, pixel, end, bias)
            pixel += TILE_COLS
        depth_first = depth_end
        if depth_first >= depth:
            return


cdef void conv2d_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one tile of output channels: [group][tile][tap][input channel][TILE_ROWS].
    cdef const Numbers* p = <const Numbers*> &args[7]
    cdef const float* weight = array(args, 1)
    cdef int64_t channels = p.c // p.groups, rows = p.oc // p.groups, taps = p.kh * p.kw
    cdef int64_t tiles = ceil_div(rows, TILE_ROWS), task, group, tile, first, count, r, c, t
    cdef float* to
    for task in range(begin, end):
        group, tile = task // tiles, task % tiles
        first = share(rows, tiles, tile)
        count = share(rows, tiles, tile + 1) - first
        to = array(args, 4) + task * taps * channels * TILE_ROWS
        for r in range(count):
            for c in range(channels):
                for t in range(taps):
                    to[(t * channels + c) * TILE_ROWS + r] = weight[((group * rows + first + r) * channels + c) * taps + t]


cdef void conv2d_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes a block of tiles of pixels for a block of tiles of channels: extra = pixels a task, channel blocks,
    # depth block.
    cdef const Numbers* p = <const Numbers*> &args[7]
    cdef const float* bias = array(args, 2)
    cdef int64_t rows = p.oc // p.groups, tiles = ceil_div(rows, TILE_ROWS), area = p.oh * p.ow
    cdef int64_t span = p.extra[0], channel_blocks = p.extra[1], pixel_blocks = ceil_div(area, span)
    cdef int64_t depth, size = p.n * p.c * p.h * p.w, task, image, group, block
    cdef int64_t blocks[3]
    cdef Grid g
    g.rows = forward_taps(p.kh, p.pad_top, p.dilation_h)
    g.cols = forward_taps(p.kw, p.pad_left, p.dilation_w)
    g.height, g.width, g.step_h, g.step_w = p.oh, p.ow, p.stride_h, p.stride_w
    g.channels, g.in_h, g.in_w = p.c // p.groups, p.h, p.w
    g.out_area, g.out_w, g.out_row, g.out_col, g.out_step_h, g.out_step_w = area, p.ow, 0, 0, 1, 1
    depth = g.channels * p.kh * p.kw
    blocks[2] = tiles
    for task in range(begin, end):
        block = task % pixel_blocks
        blocks[0] = share(tiles, channel_blocks, task // pixel_blocks % channel_blocks)
        blocks[1] = share(tiles, channel_blocks, task // pixel_blocks % channel_blocks + 1)
        group = task // (pixel_blocks * channel_blocks) % p.groups
        image = task // (pixel_blocks * channel_blocks * p.groups)
        multiply_block(&g, blocks, array(args, 4) + group * tiles * depth * TILE_ROWS, rows, p.extra[2], array(args, 0),
                       size, (image * p.c + group * g.channels) * p.h * p.w,
                       array(args, 3) + (image * p.oc + group * rows) * area, block * span,
                       least(area, (block + 1) * span), bias + group * rows if bias else NULL,
                       workspace(args, 5, thread))


cdef int64_t phase_depth(const Numbers* p, int64_t phase, Taps* rows, Taps* cols) noexcept nogil:
    rows[0] = phase_taps(p.kh, p.stride_h, p.pad_top, p.dilation_h, phase // p.stride_w)
    cols[0] = phase_taps(p.kw, p.stride_w, p.pad_left, p.dilation_w, phase % p.stride_w)
    return rows.count * cols.count * (p.oc // p.groups)


cdef void conv2d_input_grad_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one tile of input channels, for every phase: [phase][group][tile][tap][output channel][TILE_ROWS].
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef const float* weight = array(args, 1)
    cdef int64_t channels = p.oc // p.groups, rows = p.c // p.groups, taps = p.kh * p.kw
    cdef int64_t tiles = ceil_div(rows, TILE_ROWS), phase, depth, task, group, tile, first, count, r, c, i, j, tap
    cdef Taps th, tw
    cdef float* to
    cdef float* base = array(args, 3)
    for phase in range(p.stride_h * p.stride_w):
        depth = phase_depth(p, phase, &th, &tw)
        for task in range(begin, end):
            group, tile = task // tiles, task % tiles
            first = share(rows, tiles, tile)
            count = share(rows, tiles, tile + 1) - first
            to = base + task * depth * TILE_ROWS
            for i in range(th.count):
                for j in range(tw.count):
                    tap = (th.first + i * th.tap_step) * p.kw + tw.first + j * tw.tap_step
                    for c in range(channels):
                        for r in range(count):
                            to[r] = weight[((group * channels + c) * rows + first + r) * taps + tap]
                        to += TILE_ROWS
        base += p.groups * tiles * depth * TILE_ROWS


cdef void conv2d_input_grad_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # As conv2d_gemm with the roles of the channels exchanged; with strides, the input pixels of each phase of the
    # stride are a grid of their own that reads only the taps that reach it. extra as there; the pixel blocks are
    # those of the largest phase.
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef int64_t rows = p.c // p.groups, tiles = ceil_div(rows, TILE_ROWS), area = p.h * p.w
    cdef int64_t phases = p.stride_h * p.stride_w, span = p.extra[0], channel_blocks = p.extra[1]
    cdef int64_t pixel_blocks = ceil_div(ceil_div(p.h, p.stride_h) * ceil_div(p.w, p.stride_w), span)
    cdef int64_t size = p.n * p.oc * p.oh * p.ow, task, rest, image, group, phase, block, depth, before, other
    cdef int64_t blocks[3]
    cdef Taps th, tw
    cdef Grid g
    g.step_h = g.step_w = 1
    g.channels, g.in_h, g.in_w = p.oc // p.groups, p.oh, p.ow
    g.out_area, g.out_w, g.out_step_h, g.out_step_w = area, p.w, p.stride_h, p.stride_w
    blocks[2] = tiles
    for task in range(begin, end):
        block, rest = task % pixel_blocks, task // pixel_blocks
        blocks[0] = share(tiles, channel_blocks, rest % channel_blocks)
        blocks[1] = share(tiles, channel_blocks, rest % channel_blocks + 1)
        rest = rest // channel_blocks
        phase, rest = rest % phases, rest // phases
        group, image = rest % p.groups, rest // p.groups
        before = 0
        for other in range(phase):
            before += phase_depth(p, other, &th, &tw)
        depth = phase_depth(p, phase, &g.rows, &g.cols)
        g.out_row, g.out_col = phase // p.stride_w, phase % p.stride_w
        g.height = ceil_div(p.h - g.out_row, p.stride_h)
        g.width = ceil_div(p.w - g.out_col, p.stride_w)
        if g.height <= 0 or g.width <= 0 or block * span >= g.height * g.width:
            continue
        multiply_block(&g, blocks, array(args, 3) + (p.groups * before + group * depth) * tiles * TILE_ROWS, rows,
                       p.extra[2], array(args, 0), size, (image * p.oc + group * g.channels) * p.oh * p.ow,
                       array(args, 2) + (image * p.c + group * rows) * area, block * span,
                       least(g.height * g.width, (block + 1) * span), NULL, workspace(args, 4, thread))
