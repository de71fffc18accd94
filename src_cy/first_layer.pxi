# Convolution of images with few channels, from planes to blocks of channels.

cdef extern from "first_layer.h" nogil:
    const int FIRST_VECTORS
    const int FIRST_PIXELS
    const int FIRST_ROW_PIXELS
    ctypedef struct first_panel:
        int64_t depth, plane
        const int64_t* taps
        const float* weights
    int64_t first_tile_pixels(int64_t vectors)
    void first_finish(first_panel* p, const float* bias, double low, double high, int64_t channels)
    void first_pixels(int64_t vectors, first_panel* p, const float* band, const int32_t* pixels, int64_t count,
                      float* out, const float* residual)
    bint first_by_rows(int64_t vectors, int64_t width)
    void first_rows(first_panel* p, const float* band, const int32_t* pixels, int64_t rows, int64_t width, float* out,
                    const float* residual)
    void first_copy(float* to, int64_t pitch, int64_t left, const float* source, int64_t from_pitch, int64_t rows,
                    int64_t count)


cdef struct FirstLayer:
    # The parameters of conv2d's signature, in their order, and those that follow.
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
    double low, high
    int64_t bands


cdef struct FirstBand:
    # A band of output rows and the copy of the input that it reads, [channel][height][pitch]: sizes of the largest.
    int64_t rows, height, pitch


cdef inline FirstBand first_band(const FirstLayer* p) noexcept nogil:
    cdef FirstBand b
    b.rows = ceil_div(p.oh, p.bands)
    b.height = (b.rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    b.pitch = (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1
    return b


cdef inline int64_t first_panels(int64_t blocks) noexcept nogil:
    return ceil_div(blocks, FIRST_VECTORS)


cdef inline int64_t* first_taps(const int64_t* args, const FirstLayer* p) noexcept nogil:
    # scratch = packed weights, distances of the taps in bytes, addresses of a band's pixels in bytes.
    cdef int64_t depth = p.c * p.kh * p.kw
    return <int64_t*> (args[5] + ceil_div(p.oc, SIMD_WIDTH) * SIMD_WIDTH * depth * <int64_t> sizeof(float))


cdef void first_tables(const FirstLayer* p, int64_t* taps) noexcept nogil:
    cdef FirstBand b = first_band(p)
    cdef int64_t c, i, j, r, pixel
    cdef int32_t* pixels = <int32_t*> (taps + p.c * p.kh * p.kw)
    for c in range(p.c):
        for i in range(p.kh):
            for j in range(p.kw):
                taps[0] = ((c * b.height + i * p.dilation_h) * b.pitch + j * p.dilation_w) * <int64_t> sizeof(float)
                taps += 1
    for r in range(b.rows):
        for j in range(p.ow):
            pixels[r * p.ow + j] = (r * p.stride_h * b.pitch + j * p.stride_w) * <int64_t> sizeof(float)
    for pixel in range(b.rows * p.ow, b.rows * p.ow + FIRST_PIXELS):
        pixels[pixel] = 0


cdef void conv2d_first_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one panel of output channels, [input channel][tap][channel of the panel]; the first one makes the
    # tables too.
    cdef const FirstLayer* p = <const FirstLayer*> &args[8]
    cdef int64_t depth = p.c * p.kh * p.kw, blocks = ceil_div(p.oc, SIMD_WIDTH), task, first, width
    for task in range(begin, end):
        if task == 0:
            first_tables(p, first_taps(args, p))
        first = share(blocks, first_panels(blocks), task) * SIMD_WIDTH
        width = share(blocks, first_panels(blocks), task + 1) * SIMD_WIDTH - first
        transpose(array(args, 5) + first * depth, width, width, array(args, 1) + first * depth, depth,
                  least(width, p.oc - first), depth)


cdef void first_fill(const FirstLayer* p, const FirstBand* b, const float* image, int64_t first, int64_t end,
                     float* band) noexcept nogil:
    # The input rows that the output rows first..end read, zeros outside the image; a vector behind them is written too.
    cdef int64_t row = first * p.stride_h - p.pad_top, c
    cdef int64_t height = (end - 1 - first) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    cdef int64_t above = least(height, most(0, -row)), inside = most(0, least(height, p.h - row) - above)
    cdef int64_t left = least(p.pad_left, b.pitch), count = least(p.w, b.pitch - left)
    for c in range(p.c):
        memset(band, 0, above * b.pitch * sizeof(float))
        first_copy(band + above * b.pitch, b.pitch, left, image + (row + above) * p.w, p.w, inside, count)
        memset(band + (above + inside) * b.pitch, 0, (height - above - inside) * b.pitch * sizeof(float))
        band += b.height * b.pitch
        image += p.h * p.w


cdef void conv2d_first(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes a band of rows of one image, of every output channel.
    cdef const FirstLayer* p = <const FirstLayer*> &args[8]
    cdef const float* bias = array(args, 2)
    cdef const float* residual = array(args, 3)
    cdef int64_t depth = p.c * p.kh * p.kw, blocks = ceil_div(p.oc, SIMD_WIDTH), area = p.oh * p.ow
    cdef int64_t task, image, first, last, panel, block, block_end, at
    cdef FirstBand b = first_band(p)
    cdef first_panel s
    cdef float* band = workspace(args, 6, thread)
    s.depth, s.plane, s.taps = depth, area * SIMD_WIDTH, first_taps(args, p)
    for task in range(begin, end):
        image = task // p.bands
        first = share(p.oh, p.bands, task % p.bands)
        last = share(p.oh, p.bands, task % p.bands + 1)
        first_fill(p, &b, array(args, 0) + image * p.c * p.h * p.w, first, last, band)
        for panel in range(first_panels(blocks)):
            block = share(blocks, first_panels(blocks), panel)
            block_end = share(blocks, first_panels(blocks), panel + 1)
            s.weights = array(args, 5) + block * SIMD_WIDTH * depth
            first_finish(&s, bias + block * SIMD_WIDTH if bias else NULL, p.low, p.high, p.oc - block * SIMD_WIDTH)
            at = ((image * blocks + block) * area + first * p.ow) * SIMD_WIDTH
            if p.stride_w == 1 and first_by_rows(block_end - block, p.ow):
                first_rows(&s, band, <const int32_t*> (s.taps + depth), last - first, p.ow, array(args, 4) + at,
                           residual + at if residual else NULL)
            else:
                first_pixels(block_end - block, &s, band, <const int32_t*> (s.taps + depth), (last - first) * p.ow,
                             array(args, 4) + at, residual + at if residual else NULL)
