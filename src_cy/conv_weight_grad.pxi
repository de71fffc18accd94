# The weight gradient as a matrix product over pixels: dw[k, oc] = sum over pixels of im2col(x)[k, pixel] dy[oc, pixel].

cdef extern from "simd.h" nogil:
    void transpose(float* to, int64_t to_pitch, int64_t width, const float* values, int64_t from_pitch, int64_t rows,
                   int64_t cols)


cdef void weight_grad_images(const Numbers* p, const grid* g, const float* dy, const float* x, int64_t group,
                             int64_t first, int64_t end, int64_t depth_first, int64_t depth_end, float* space,
                             float* partial) noexcept nogil:
    # Sums the images first..end into partial[tile of output channels][depth][TILE_COLS]. A panel holds PANEL_PIXELS
    # pixels: a part of one image, or several small images. ``space`` holds a tile of dy, the panel, and the pixels.
    cdef int64_t rows = p.oc // p.groups, area = p.oh * p.ow, tiles = ceil_div(rows, TILE_COLS)
    cdef int64_t depth = g.channels * p.kh * p.kw, size = p.n * p.c * p.h * p.w
    cdef int64_t together = most(1, PANEL_PIXELS // area)
    cdef float* right = space
    cdef float* panel = right + PANEL_PIXELS * TILE_COLS
    cdef pixels* place = <pixels*> (panel + (depth_end - depth_first) * PANEL_PITCH)
    cdef int64_t image, images, i, pixel, count, filled, tile, done = 0, at, strip, k, plane
    cdef bint pointwise = pixels_pointwise(g)
    cdef Strips s = strips(depth_end - depth_first)
    image = first
    while image < end:
        images = least(together, end - image)
        pixel = 0
        while pixel < area:
            count = least(PANEL_PIXELS, area - pixel)
            filled = 0
            for i in range(images):
                plane = ((image + i) * p.c + group * g.channels) * p.h * p.w
                if pointwise:
                    for k in range(depth_first, depth_end):
                        memcpy(panel + (k - depth_first) * PANEL_PITCH + filled, x + plane + k * area + pixel,
                               count * sizeof(float))
                    filled += count
                    continue
                at = 0
                while at < count:
                    pixels_place(place, g, pixel + at, pixel + count)
                    pixels_gather(place, g, panel + filled + at, PANEL_PITCH, depth_first, depth_end, x, size, plane)
                    at += SIMD_WIDTH
                filled += count
            for tile in range(tiles):
                for i in range(images):
                    transpose(right + i * count * TILE_COLS, TILE_COLS, TILE_COLS,
                              dy + ((image + i) * p.oc + group * rows + tile * TILE_COLS) * area + pixel, area,
                              least(TILE_COLS, rows - tile * TILE_COLS), count)
                for strip in range(s.end):
                    k = strip_start(&s, strip)
                    product_rows(strip_start(&s, strip + 1) - k, filled, panel + k * PANEL_PITCH, right,
                                 partial + (tile * depth + depth_first + k) * TILE_COLS, TILE_COLS, done)
            done = 1
            pixel += count
        image += images


cdef void conv2d_weight_grad_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is one block of the depth for one chunk of the batch: extra = depth blocks, chunks.
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef int64_t depth_blocks = p.extra[0], chunks = p.extra[1], task, part, group, chunk, depth
    cdef int64_t tiles = ceil_div(p.oc // p.groups, TILE_COLS)
    cdef grid g
    g.rows = forward_taps(p.kh, p.pad_top, p.dilation_h)
    g.cols = forward_taps(p.kw, p.pad_left, p.dilation_w)
    g.height, g.width, g.step_h, g.step_w = p.oh, p.ow, p.stride_h, p.stride_w
    g.channels, g.in_h, g.in_w = p.c // p.groups, p.h, p.w
    depth = g.channels * p.kh * p.kw
    for task in range(begin, end):
        part, chunk = task % depth_blocks, task // depth_blocks % chunks
        group = task // (depth_blocks * chunks)
        weight_grad_images(p, &g, array(args, 0), array(args, 1), group, share(p.n, chunks, chunk),
                           share(p.n, chunks, chunk + 1), share(depth, depth_blocks, part),
                           share(depth, depth_blocks, part + 1), workspace(args, 4, thread),
                           array(args, 3) + (chunk * p.groups + group) * tiles * depth * TILE_COLS)


cdef void conv2d_weight_grad_merge(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task adds up the chunks for one input channel and one tile of output channels.
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef int64_t rows = p.oc // p.groups, tiles = ceil_div(rows, TILE_COLS), chunks = p.extra[1]
    cdef int64_t channels = p.c // p.groups, taps = p.kh * p.kw, depth = channels * taps
    cdef int64_t task, group, tile, channel, chunk, row, tap, count
    cdef const float* partial
    cdef float* dw
    cdef float total[32]
    for task in range(begin, end):
        channel, tile, group = task % channels, task // channels % tiles, task // (channels * tiles)
        count = least(TILE_COLS, rows - tile * TILE_COLS)
        dw = array(args, 2) + (group * rows + tile * TILE_COLS) * depth + channel * taps
        for tap in range(taps):
            for row in range(TILE_COLS):
                total[row] = 0
            for chunk in range(chunks):
                partial = array(args, 3) + (((chunk * p.groups + group) * tiles + tile) * depth
                                            + channel * taps + tap) * TILE_COLS
                for row in range(TILE_COLS):
                    total[row] += partial[row]
            for row in range(count):
                dw[row * depth + tap] = total[row]
