# Convolution of images with few channels, from planes to blocks of channels: every tap of every channel is a step of
# one reduction, in the register tiles of conv_microkernel.h or, where pixels share inputs, of conv_microkernel_taps.h.
# A last block of few channels may have pixels for lanes (first_pixels.h).

cdef extern from "first_layer.h" nogil:
    void first_copy(float* to, int64_t pitch, int64_t left, const float* source, int64_t from_pitch, int64_t rows,
                    int64_t count)


cdef extern from "first_pixels.h" nogil:
    const int FIRST_CHANNELS
    const int FIRST_SUMS
    const int FIRST_MOST_VECTORS
    ctypedef struct first_pixels:
        int64_t source, target, count
    void first_few_channels(int64_t channels, const first_pixels* at, int64_t count, int64_t depth, const int64_t* taps,
                            const float* x, const float* w, float* out, int accumulate, const tile_finish* finish,
                            prefetcher* next)


cdef enum:
    # Sums of more terms are taken in runs of so many: rounding errors grow with the run and the number of runs.
    FIRST_RUN = 192


cdef struct FirstBand:
    # A band of output rows and the copy of the input that it reads, [channel][height][pitch]: sizes of the largest.
    int64_t rows, height, pitch


cdef struct FirstTables:
    # In the scratch memory behind the weights: where each step of the reduction lies from a pixel, where the pixels of
    # a band are read, and where they go, all in floats; the same of vectors of pixels.
    int64_t* taps
    int64_t* sources
    int64_t* targets
    first_pixels* pixels


cdef inline FirstBand first_band(const Convolution* p, const First* f) noexcept nogil:
    cdef FirstBand b
    b.rows = ceil_div(p.oh, f.bands)
    b.height = (b.rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    b.pitch = (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1
    return b


cdef inline FirstTables first_tables(const Conv2dFirstF32* a, const FirstBand* b) noexcept nogil:
    cdef FirstTables t
    cdef const Convolution* p = &a.convolution
    cdef int64_t depth = p.c * p.kh * p.kw
    t.taps = <int64_t*> (a.memory.scratch + ceil_div(p.oc, SIMD_WIDTH) * SIMD_WIDTH * depth)
    t.sources = t.taps + depth
    t.targets = t.sources + b.rows * p.ow
    t.pixels = <first_pixels*> (t.targets + b.rows * p.ow)
    return t


cdef inline int64_t first_steps(const Convolution* p) noexcept nogil:
    # Of the reduction that one run has.
    return most(1, FIRST_RUN // p.kw) * p.kw


cdef inline int64_t first_blocks(const Convolution* p, const First* f) noexcept nogil:
    # Blocks of output channels that are lanes.
    return p.oc // SIMD_WIDTH if f.few else ceil_div(p.oc, SIMD_WIDTH)


cdef void first_places(const Convolution* p, const First* f, const FirstBand* b, const FirstTables* t) noexcept nogil:
    cdef int64_t c, i, j, r, depth = p.c * p.kh * p.kw
    cdef first_pixels* pixels = t.pixels
    for c in range(p.c):
        for i in range(p.kh):
            for j in range(p.kw):
                t.taps[(c * p.kh + i) * p.kw + j] = (c * b.height + i * p.dilation_h) * b.pitch + j * p.dilation_w
    for r in range(b.rows):
        for j in range(p.ow):
            t.sources[r * p.ow + j] = r * p.stride_h * b.pitch + j * p.stride_w
            t.targets[r * p.ow + j] = (r * p.ow + j) * SIMD_WIDTH
    for i in range(b.rows * ceil_div(p.ow, SIMD_WIDTH) if f.few else 0):
        r, j = i // ceil_div(p.ow, SIMD_WIDTH), i % ceil_div(p.ow, SIMD_WIDTH) * SIMD_WIDTH
        if j + SIMD_WIDTH > p.ow and p.ow >= SIMD_WIDTH and depth <= first_steps(p):
            j = p.ow - SIMD_WIDTH  # makes some pixels again
        pixels[i].source, pixels[i].target = r * p.stride_h * b.pitch + j, (r * p.ow + j) * SIMD_WIDTH
        pixels[i].count = least(SIMD_WIDTH, p.ow - j)


cdef void conv2d_first_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one panel of output channels, [input channel][tap][channel of the panel]; the first one makes the
    # tables too.
    cdef const Conv2dFirstF32* a = <const Conv2dFirstF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const First* f = &a.extra
    cdef int64_t depth = p.c * p.kh * p.kw, blocks = first_blocks(p, f), task, first, width
    cdef FirstBand b = first_band(p, f)
    cdef FirstTables tables = first_tables(a, &b)
    for task in range(begin, end):
        if task == 0:
            first_places(p, f, &b, &tables)
        first, width = blocks * SIMD_WIDTH, f.few
        if task < f.panels:
            first = share(blocks, f.panels, task) * SIMD_WIDTH
            width = share(blocks, f.panels, task + 1) * SIMD_WIDTH - first
        transpose(a.memory.scratch + first * depth, width, width, a.weight + first * depth, depth,
                  least(width, p.oc - first), depth)


cdef void first_fill(const Convolution* p, const FirstBand* b, const float* image, int64_t first, int64_t end,
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


cdef void first_run(const Convolution* p, const First* f, const FirstTables* t, int64_t rows, int64_t vectors,
                    int64_t first, int64_t end, const float* band, const float* weights, float* out,
                    const tile_finish* finish) noexcept nogil:
    # The steps first..end of the reduction for some rows and a panel, whose weights are given.
    cdef int64_t plane = p.oh * p.ow * SIMD_WIDTH, row
    cdef tile_depth depth
    depth.taps = depth.rest = t.taps + first
    depth.tap_count = depth.rest_count = end - first
    depth.blocks = depth.x_block = depth.before = depth.after = depth.far = 0
    depth.first, depth.end = p.pad_left, p.pad_left + p.w
    depth.next = f.prefetcher
    depth.across = p.kw if f.sharing and TAPS_PIXELS(vectors) > 0 else 0
    weights += first * vectors * SIMD_WIDTH
    if not depth.across:
        tiles(rows * p.ow, 0, 1, vectors, &depth, band, t.sources, weights, out, t.targets, plane, first > 0, finish)
        return
    for row in range(rows):
        taps_tiles(p.ow, 1, p.stride_w, vectors, &depth, band + t.sources[row * p.ow], weights, out,
                   t.targets + row * p.ow, plane, first > 0, finish)


cdef void conv2d_first(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes a band of rows of one image, of every output channel.
    cdef const Conv2dFirstF32* a = <const Conv2dFirstF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const First* f = &a.extra
    cdef const float* residual = a.residual
    cdef int64_t depth = p.c * p.kh * p.kw, blocks = first_blocks(p, f), steps = first_steps(p)
    cdef int64_t task, image, first, last, panel, block, vectors, at, step, step_end
    cdef FirstBand b = first_band(p, f)
    cdef FirstTables tables = first_tables(a, &b)
    cdef tile_finish finish
    cdef const tile_finish* end_of_run
    cdef float padded[4 * 16]
    cdef float* band = workspace_of(&a.memory, thread)
    finish.low, finish.high = <float> a.clamp.low, <float> a.clamp.high
    for task in range(begin, end):
        image = task // f.bands
        first = share(p.oh, f.bands, task % f.bands)
        last = share(p.oh, f.bands, task % f.bands + 1)
        first_fill(p, &b, a.x + image * p.c * p.h * p.w, first, last, band)
        for panel in range(f.panels + (f.few > 0)):
            block, vectors = blocks, 1
            if panel < f.panels:
                block = share(blocks, f.panels, panel)
                vectors = share(blocks, f.panels, panel + 1) - block
            at = ((image * ceil_div(p.oc, SIMD_WIDTH) + block) * p.oh + first) * p.ow * SIMD_WIDTH
            finish_channels(&finish, a.bias, p.oc, block, vectors, padded)
            finish.residual = residual + at if residual else NULL
            step = 0
            while step < depth:
                step_end = least(step + steps, depth)
                end_of_run = &finish if step_end == depth else NULL
                if panel < f.panels:
                    first_run(p, f, &tables, last - first, vectors, step, step_end, band,
                              a.memory.scratch + block * SIMD_WIDTH * depth, a.y + at, end_of_run)
                else:
                    first_few_channels(f.few, tables.pixels, (last - first) * ceil_div(p.ow, SIMD_WIDTH),
                                       step_end - step, tables.taps + step, band,
                                       a.memory.scratch + block * SIMD_WIDTH * depth + step * f.few, a.y + at,
                                       step > 0, end_of_run, a.extra.prefetcher)
                step = step_end
