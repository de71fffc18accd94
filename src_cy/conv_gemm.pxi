# Convolution and its input gradient as implicit matrix products: rows are the channels that are made, columns are
# pixels of a grid, and the reduction runs over (channel read, tap row, tap column).

cdef extern from "pixels.h" nogil:
    ctypedef struct axis_taps:
        int64_t count, first, tap_step, shift, shift_step
    ctypedef struct grid:
        axis_taps rows, cols
        int64_t height, width, step_h, step_w
        int64_t channels, in_h, in_w
        int64_t out_area, out_w, out_row, out_col, out_step_h, out_step_w
    ctypedef struct pixels:
        pass
    int64_t PIXELS_BYTES(int64_t taps)
    int pixels_pointwise(const grid* g)
    void pixels_copy(float* to, int64_t panel_pitch, const float* source, int64_t area, int64_t channels, int64_t count)
    void pixels_place(pixels* p, const grid* g, int64_t first, int64_t end)
    void pixels_gather(const pixels* p, const grid* g, float* to, int64_t pitch, int64_t first, int64_t end,
                       const float* x, int64_t size, int64_t plane)


cdef struct Numbers:
    # The parameters of a convolution's signature, in their order, and those that follow.
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
    int64_t extra[6]


cdef axis_taps forward_taps(int64_t kernel, int64_t pad, int64_t dilation) noexcept nogil:
    cdef axis_taps t
    t.count, t.first, t.tap_step, t.shift, t.shift_step = kernel, 0, 1, -pad, dilation
    return t


cdef axis_taps phase_taps(int64_t kernel, int64_t stride, int64_t pad, int64_t dilation, int64_t phase) noexcept nogil:
    # Input position i * stride + phase takes output position (i * stride + phase + pad - k * dilation) / stride from
    # every tap k for which that is whole.
    cdef axis_taps t
    cdef int64_t a = stride, b = dilation
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


cdef void multiply_tile(const grid* g, const Strips* s, const float* packed, int64_t depth_first, int64_t depth_end,
                        const float* panel, float* out, int64_t pixel, int64_t end, const float* bias) noexcept nogil:
    # One tile of pixels (from ``pixel``, below ``end``) of the given channels, over a part of the depth.
    cdef int64_t tile, r, first, count, l, i, j
    cdef int64_t depth = g.rows.count * g.cols.count * g.channels
    cdef int64_t lanes = least(TILE_COLS, end - pixel)
    cdef int64_t vectors = 1 if lanes <= SIMD_WIDTH else 2
    cdef bint direct = g.out_step_w == 1 and g.out_step_h == 1 and lanes == vectors * SIMD_WIDTH
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
    packed += (s.first * depth + depth_first) * TILE_ROWS
    for tile in range(s.first, s.end):
        first = strip_start(s, tile)
        count = strip_start(s, tile + 1) - first
        if direct:
            product_packed(count, vectors, depth_end - depth_first, packed, panel, out + first * g.out_area + pixel,
                           g.out_area, bias + first if bias else NULL, depth_first > 0)
        else:
            if depth_first > 0:
                for r in range(count):
                    for l in range(lanes):
                        buffer[r * TILE_COLS + l] = out[(first + r) * g.out_area + target[l]]
            product_packed(count, vectors, depth_end - depth_first, packed, panel, buffer, TILE_COLS,
                           bias + first if bias else NULL, depth_first > 0)
            for r in range(count):
                for l in range(lanes):
                    out[(first + r) * g.out_area + target[l]] = buffer[r * TILE_COLS + l]
        packed += depth * TILE_ROWS


cdef void multiply_block(const grid* g, const Strips* s, const float* packed, const int64_t* blocks, const float* x,
                         int64_t size, int64_t plane, float* out, int64_t first, int64_t end, const float* bias,
                         float* panels) noexcept nogil:
    # The pixels first..end of one image and group: a few panels, each of a tile and a block of the depth, at a time.
    # blocks = depth block, panels. Behind the panels in the workspace is where the pixels' windows lie.
    cdef int64_t depth = g.rows.count * g.cols.count * g.channels, pitch = blocks[0] * TILE_COLS
    cdef int64_t area = g.in_h * g.in_w, depth_first = 0, depth_end, pixel, last, tile, vector
    cdef pixels* place = <pixels*> (panels + blocks[1] * pitch)
    cdef bint pointwise = pixels_pointwise(g)
    while True:
        depth_end = least(depth_first + blocks[0], depth)
        pixel = first
        while pixel < end:
            last = least(end, pixel + blocks[1] * TILE_COLS)
            if pointwise:
                pixels_copy(panels, pitch, x + plane + depth_first * area + pixel, area, depth_end - depth_first,
                            last - pixel)
            else:
                for vector in range(ceil_div(last - pixel, SIMD_WIDTH)):
                    pixels_place(place, g, pixel + vector * SIMD_WIDTH, end)
                    pixels_gather(place, g, panels + vector // 2 * pitch + vector % 2 * SIMD_WIDTH, TILE_COLS,
                                  depth_first, depth_end, x, size, plane)
            for tile in range(ceil_div(last - pixel, TILE_COLS)):
                multiply_tile(g, s, packed, depth_first, depth_end, panels + tile * pitch, out,
                              pixel + tile * TILE_COLS, end, bias)
            pixel = last
        depth_first = depth_end
        if depth_first >= depth:
            return


cdef void conv2d_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one tile of output channels: [group][tile][input channel][tap][TILE_ROWS].
    cdef const Numbers* p = <const Numbers*> &args[8]
    cdef int64_t rows = p.oc // p.groups, depth = p.c // p.groups * p.kh * p.kw, task, first, count, r, k
    cdef Strips s = strips(rows)
    cdef const float* weight
    cdef float* to
    for task in range(begin, end):
        first = strip_start(&s, task % s.end)
        count = strip_start(&s, task % s.end + 1) - first
        weight = array(args, 1) + (task // s.end * rows + first) * depth
        to = array(args, 5) + task * depth * TILE_ROWS
        for r in range(count):
            for k in range(depth):
                to[k * TILE_ROWS + r] = weight[r * depth + k]


cdef void conv2d_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes a block of pixels for a block of tiles of channels: extra = pixels a task, channel blocks, depth
    # block, panels at a time.
    cdef const Numbers* p = <const Numbers*> &args[8]
    cdef const float* bias = array(args, 2)
    cdef int64_t rows = p.oc // p.groups, area = p.oh * p.ow, tiles = ceil_div(rows, TILE_ROWS)
    cdef int64_t span = p.extra[2], channel_blocks = p.extra[3], pixel_blocks = ceil_div(area, span)
    cdef int64_t depth, task, rest, image, group, block
    cdef Strips s = strips(rows)
    cdef grid g
    g.rows = forward_taps(p.kh, p.pad_top, p.dilation_h)
    g.cols = forward_taps(p.kw, p.pad_left, p.dilation_w)
    g.height, g.width, g.step_h, g.step_w = p.oh, p.ow, p.stride_h, p.stride_w
    g.channels, g.in_h, g.in_w = p.c // p.groups, p.h, p.w
    g.out_area, g.out_w, g.out_row, g.out_col, g.out_step_h, g.out_step_w = area, p.ow, 0, 0, 1, 1
    depth = g.channels * p.kh * p.kw
    for task in range(begin, end):
        block, rest = task % pixel_blocks, task // pixel_blocks
        s.first = share(tiles, channel_blocks, rest % channel_blocks)
        s.end = share(tiles, channel_blocks, rest % channel_blocks + 1)
        rest = rest // channel_blocks
        group, image = rest % p.groups, rest // p.groups
        multiply_block(&g, &s, array(args, 5) + group * tiles * depth * TILE_ROWS, &p.extra[4], array(args, 0),
                       p.n * p.c * p.h * p.w, (image * p.c + group * g.channels) * p.h * p.w,
                       array(args, 4) + (image * p.oc + group * rows) * area, block * span,
                       least(area, (block + 1) * span), bias + group * rows if bias else NULL,
                       workspace(args, 6, thread))


cdef int64_t phase_depth(const Numbers* p, int64_t phase, axis_taps* rows, axis_taps* cols) noexcept nogil:
    rows[0] = phase_taps(p.kh, p.stride_h, p.pad_top, p.dilation_h, phase // p.stride_w)
    cols[0] = phase_taps(p.kw, p.stride_w, p.pad_left, p.dilation_w, phase % p.stride_w)
    return rows.count * cols.count * (p.oc // p.groups)


cdef void conv2d_input_grad_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one tile of input channels, for every phase: [phase][group][tile][output channel][tap][TILE_ROWS].
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef const float* weight = array(args, 1)
    cdef int64_t channels = p.oc // p.groups, rows = p.c // p.groups, taps = p.kh * p.kw
    cdef int64_t phase, depth, task, group, first, count, r, c, i, j
    cdef Strips s = strips(rows)
    cdef axis_taps th, tw
    cdef const float* tap
    cdef float* to
    cdef float* base = array(args, 3)
    for phase in range(p.stride_h * p.stride_w):
        depth = phase_depth(p, phase, &th, &tw)
        for task in range(begin, end):
            group = task // s.end
            first = strip_start(&s, task % s.end)
            count = strip_start(&s, task % s.end + 1) - first
            to = base + task * depth * TILE_ROWS
            for c in range(channels):
                for i in range(th.count):
                    for j in range(tw.count):
                        tap = (weight + ((group * channels + c) * rows + first) * taps
                               + (th.first + i * th.tap_step) * p.kw + tw.first + j * tw.tap_step)
                        for r in range(count):
                            to[r] = tap[r * taps]
                        to += TILE_ROWS
        base += p.groups * s.end * depth * TILE_ROWS


cdef void conv2d_input_grad_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # As conv2d_gemm with the roles of the channels exchanged; with strides, the input pixels of each phase of the
    # stride are a grid of their own that reads only the taps that reach it. extra as there; the pixel blocks are
    # those of the largest phase.
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef int64_t rows = p.c // p.groups, tiles = ceil_div(rows, TILE_ROWS), area = p.h * p.w
    cdef int64_t phases = p.stride_h * p.stride_w, span = p.extra[0], channel_blocks = p.extra[1]
    cdef int64_t pixel_blocks = ceil_div(ceil_div(p.h, p.stride_h) * ceil_div(p.w, p.stride_w), span)
    cdef int64_t task, rest, image, group, phase, block, depth, before, other
    cdef Strips s = strips(rows)
    cdef axis_taps th, tw
    cdef grid g
    g.step_h = g.step_w = 1
    g.channels, g.in_h, g.in_w = p.oc // p.groups, p.oh, p.ow
    g.out_area, g.out_w, g.out_step_h, g.out_step_w = area, p.w, p.stride_h, p.stride_w
    for task in range(begin, end):
        block, rest = task % pixel_blocks, task // pixel_blocks
        s.first = share(tiles, channel_blocks, rest % channel_blocks)
        s.end = share(tiles, channel_blocks, rest % channel_blocks + 1)
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
        multiply_block(&g, &s, array(args, 3) + (p.groups * before + group * depth) * tiles * TILE_ROWS, &p.extra[2],
                       array(args, 0), p.n * p.oc * p.oh * p.ow, (image * p.oc + group * g.channels) * p.oh * p.ow,
                       array(args, 2) + (image * p.c + group * rows) * area, block * span,
                       least(g.height * g.width, (block + 1) * span), NULL, workspace(args, 4, thread))
