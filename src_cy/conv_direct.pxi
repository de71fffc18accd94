# Direct convolution over activations in blocks of V channels, and its input gradient: both are sums over blocks of
# input channels and taps, for the pixels of one grid (forward) or of a grid for each phase of the stride (gradient).
# Gradients of few channels have one grid instead, on which all phases of a pixel lie side by side as if they were
# channels. A Direct says how the work is cut; behind it lie its panels and its grids (kernels/compiled/conv_direct.py).

cdef extern from "conv_microkernel.h" nogil:
    const int TILE_VECTORS
    const int TILE_HELD
    int64_t TILE_PIXELS(int64_t vectors)
    int64_t TILE_ROW_PIXELS(int64_t vectors)
    int64_t TILE_LEAST_ROW(int64_t vectors)
    ctypedef struct tile_depth:
        const int64_t* taps
        int64_t tap_count, blocks, x_block
        const int64_t* rest
        int64_t rest_count, before, after, far, across, first, end
        prefetcher* next
    ctypedef struct tile_finish:
        const float* bias
        const float* residual
        float low, high
        int64_t lanes
    void tiles(int64_t count, int in_row, int64_t span, int64_t vectors, const tile_depth* depth, const float* x,
               const int64_t* source, const float* w, float* out, const int64_t* target, int64_t out_block,
               int accumulate, const tile_finish* finish)


cdef extern from "conv_microkernel_taps.h" nogil:
    int64_t TAPS_PIXELS(int64_t vectors)
    void taps_tiles(int64_t width, int64_t unit, int64_t step, int64_t vectors, const tile_depth* depth, const float* x,
                    const float* w, float* out, const int64_t* target, int64_t out_block, int accumulate,
                    const tile_finish* finish)


cdef extern from "pack_weights.h" nogil:
    void spread_lanes(float* to, int64_t to_step, const float* lines, int64_t step, int64_t lanes, int64_t count)


cdef struct Side:
    # One image's channels, in blocks, and pixels.
    float* data
    int64_t channels, height, width


cdef struct Convolved:
    # What a direct convolution reads, makes and adds.
    Side source, target
    int64_t n
    const float* bias
    const float* residual
    float low, high


cdef inline const Panel* panels_of(const Direct* d) noexcept nogil:
    return <const Panel*> (d + 1)


cdef inline const Grid* grids_of(const Direct* d) noexcept nogil:
    return <const Grid*> (panels_of(d) + d.panel_count)


cdef inline int64_t blocks_of(int64_t channels) noexcept nogil:
    return ceil_div(channels, SIMD_WIDTH)


cdef void copy_band(const Direct* d, const Side* side, float* to, int64_t image, int64_t images, int64_t row,
                    int64_t first, int64_t end) noexcept nogil:
    # The blocks first..end of the rows from `row` on, zeros where they are outside the image.
    cdef int64_t blocks = blocks_of(side.channels), pixel = SIMD_WIDTH * sizeof(float)
    cdef int64_t before = least(most(-d.left, 0), d.width)
    cdef int64_t inside = most(least(d.width, side.width - d.left) - before, 0)
    cdef int64_t after = d.width - before - inside
    cdef int64_t i, b, r
    cdef const float* plane
    cdef float* at
    for i in range(images):
        for b in range(first, end):
            plane = side.data + ((image + i) * blocks + b) * side.height * side.width * SIMD_WIDTH
            at = to + i * d.image + (b - first) * d.block
            for r in range(row, row + d.height):
                if r < 0 or r >= side.height or inside == 0:
                    memset(at, 0, d.width * pixel)
                else:
                    memset(at, 0, before * pixel)
                    memcpy(at + before * SIMD_WIDTH,
                           plane + (r * side.width + d.left + before) * SIMD_WIDTH, inside * pixel)
                    memset(at + (before + inside) * SIMD_WIDTH, 0, after * pixel)
                at += d.width * SIMD_WIDTH


cdef void clear_band(const Direct* d, const Convolved* c, const Panel* panel, int64_t image, int64_t images,
                     int64_t row) noexcept nogil:
    # Zeros in all rows of a band of gradients, of all phases.
    cdef int64_t step = grids_of(d).out_step_h, first = row * step, end = least((row + d.rows) * step, c.target.height)
    cdef int64_t i, b
    for i in range(image, image + images):
        for b in range(panel.first, panel.first + panel.blocks):
            memset(c.target.data
                   + ((i * blocks_of(c.target.channels) + b) * c.target.height + first) * d.line * SIMD_WIDTH,
                   0, (end - first) * d.line * SIMD_WIDTH * sizeof(float))


cdef void spread_band(const Direct* d, const Convolved* c, const float* made, int64_t image, int64_t images,
                      int64_t row) noexcept nogil:
    # The phases that lie side by side in a band of gradients to where they belong.
    cdef const Grid* grid = grids_of(d)
    cdef int64_t channels = c.target.channels // d.merged, step = blocks_of(c.target.channels) * SIMD_WIDTH
    cdef int64_t i, j, f, h, w
    cdef const float* line
    cdef float* out
    for i in range(images * d.rows):
        for f in range(d.merged):
            h = (row + i % d.rows) * grid.out_step_h + f // grid.out_step_w
            w = f % grid.out_step_w
            if h < c.target.height and w < c.target.width:
                line = made + i * grid.width * step + f * channels
                out = c.target.data + (((image + i // d.rows) * c.target.height + h) * c.target.width + w) * SIMD_WIDTH
                spread_lanes(out, grid.out_step_w * SIMD_WIDTH, line, step, channels,
                             ceil_div(c.target.width - w, grid.out_step_w))


cdef void finish_channels(tile_finish* finish, const float* bias, int64_t channels, int64_t block, int64_t vectors,
                          float* padded) noexcept nogil:
    # Lanes and bias of a panel of so many blocks from the given one; ``padded`` takes the bias where lanes are left.
    finish.lanes = least(SIMD_WIDTH, channels - (block + vectors - 1) * SIMD_WIDTH)
    finish.bias = bias + block * SIMD_WIDTH if bias else NULL
    if bias and finish.lanes < SIMD_WIDTH:
        memset(padded, 0, vectors * SIMD_WIDTH * sizeof(float))
        memcpy(padded, finish.bias, (channels - block * SIMD_WIDTH) * sizeof(float))
        finish.bias = padded


cdef void pixel_tiles(const Direct* d, const Grid* phase, const int64_t* tables, int64_t pixel, int64_t pixels,
                      const Panel* panel, const tile_depth* depth, const float* x, const float* w, float* out,
                      int64_t out_block, bint accumulate, const tile_finish* finish, bint spoiled) noexcept nogil:
    # So many pixels of a phase; rows by themselves where taps share inputs or a tile of such takes more pixels; with
    # `spoiled`, absent weights meet inputs that are not finite.
    cdef int64_t span = panel.span, vectors = panel.vectors
    cdef const int64_t* source = tables + phase.sources + pixel
    cdef const int64_t* target = tables + phase.targets + pixel
    cdef int64_t first = 0
    if spoiled:
        present_pixels(d, phase, source, target, pixels, vectors, depth, x, w, out, out_block, accumulate, finish)
        return
    if phase.across and span == 1 and TAPS_PIXELS(vectors) > 0:
        while first < pixels:
            taps_tiles(phase.width, SIMD_WIDTH, d.step_w, vectors, depth, x + source[first], w, out, target + first,
                       out_block, accumulate, finish)
            first += phase.width
        return
    if phase.run < TILE_LEAST_ROW(vectors) or TILE_ROW_PIXELS(vectors) <= TILE_PIXELS(vectors):
        tiles(pixels, 0, span, vectors, depth, x, source, w, out, target, out_block, accumulate, finish)
        return
    while first < pixels:
        tiles(least(phase.run, pixels - first), 1, span, vectors, depth, x, source + first, w, out, target + first,
              out_block, accumulate, finish)
        first += phase.run


cdef void row_taps(const Grid* phase, const int64_t* tables, int64_t first, int64_t end,
                   int64_t rest, tile_depth* depth) noexcept nogil:
    # The sums run over the taps of the kernel's rows first..end, and over `rest` channels of the last block.
    cdef int64_t cols = phase.cols.taps
    depth.taps, depth.tap_count = tables + phase.taps + first * cols, (end - first) * cols
    depth.rest, depth.rest_count = tables + phase.rest + first * cols * rest, (end - first) * cols * rest
    depth.before, depth.after = first * cols, (phase.rows.taps - end) * cols


cdef void panel_tiles(const Direct* d, const Grid* phase, const int64_t* tables, int64_t images, int64_t row,
                      int64_t rows, int64_t height, const Panel* panel, int64_t rest, tile_depth* depth, const float* x,
                      const float* w, float* out, int64_t out_block, bint accumulate, const tile_finish* finish,
                      bint spoiled) noexcept nogil:
    # So many rows from `row` on of some images of `height` rows.
    cdef int64_t line = d.images * phase.width, i = 0, end
    cdef window_axis axis
    cdef window_span within
    if not phase.apart:
        row_taps(phase, tables, 0, phase.rows.taps, rest, depth)
        pixel_tiles(d, phase, tables, 0, images * rows * phase.width, panel, depth, x, w, out, out_block, accumulate,
                    finish, spoiled)
        return
    axis = window_axis_of(phase.rows.taps, phase.rows.shift_step, phase.rows.shift, d.step_h, height, phase.height)
    while i < rows:
        within = window_within(&axis, row + i)
        end = i + 1
        if within.end - within.first == axis.taps and images == d.images:
            end = least(rows, axis.inside_end - row)
        if within.first == within.end:  # all taps read zeros, one of them is enough
            within.first = least(within.first, axis.taps - 1)
            within.end = within.first + 1
        row_taps(phase, tables, within.first, within.end, rest, depth)
        pixel_tiles(d, phase, tables, i * line, (end - i - 1) * line + images * phase.width, panel, depth, x, w, out,
                    out_block, accumulate, finish, spoiled)
        i = end


cdef void direct_band(const Direct* d, const Convolved* c, const float* packed, int64_t image, int64_t images,
                      int64_t row, int64_t first, int64_t end, float* band, prefetcher* next) noexcept nogil:
    # The rows from `row` on of some images, for the panels first..end. Pixels that no tap reaches are cleared first.
    cdef const int64_t* tables = <const int64_t*> packed + d.tables // 8
    cdef int64_t in_blocks = blocks_of(c.source.channels), out_blocks = blocks_of(c.target.channels)
    cdef int64_t rest = c.source.channels % SIMD_WIDTH, out_block = c.target.height * c.target.width * SIMD_WIDTH
    cdef int64_t in_first = in_blocks, in_end = 0, chunk, chunk_end, p, f, a, b, taps, rows, lanes
    cdef const Panel* panel
    cdef const Grid* phase
    cdef tile_depth depth
    cdef tile_finish finish
    cdef float padded[4 * 16]
    cdef const float* x
    cdef float* target
    cdef int64_t out
    cdef bint spoiled = False
    finish.low, finish.high = c.low, c.high
    depth.next = next
    target = c.target.data
    if d.merged:
        target, out_block = band + d.made, SIMD_WIDTH
    for p in range(first, end):
        in_first = least(in_first, panels_of(d)[p].in_first)
        in_end = most(in_end, panels_of(d)[p].in_end)
    chunk = in_first
    while chunk < in_end:
        chunk_end = least(chunk + d.chunk, in_end)
        if d.copied:
            copy_band(d, &c.source, band, image, images, row * d.step_h + d.top, chunk, chunk_end)
        if d.absent:
            spoiled = not finite_band(d, &c.source, band, image, images, row, chunk, chunk_end)
        for p in range(first, end):
            panel = panels_of(d) + p
            a, b = most(chunk, panel.in_first), least(chunk_end, panel.in_end)
            if a >= b:
                continue
            lanes = panel.vectors * SIMD_WIDTH // panel.span
            depth.x_block, depth.far = d.block, p == first and not d.copied and b - a > 1
            depth.blocks = b - a - (b == in_blocks and rest > 0)
            if d.copied:
                x = band + (a - chunk) * d.block
            else:
                x = c.source.data + image * d.image + a * d.block + row * d.step_h * d.row
            finish_channels(&finish, c.bias, c.target.channels, panel.first, panel.blocks, padded)
            if d.cleared and a == panel.in_first:
                clear_band(d, c, panel, image, images, row)
            for f in range(d.grid_count):
                phase = grids_of(d) + f
                rows = least(d.rows, phase.height - row)
                taps = phase.rows.taps * phase.cols.taps
                if rows <= 0 or taps == 0:
                    continue
                depth.across = phase.across
                depth.first, depth.end = -phase.cols.shift, c.source.width - phase.cols.shift
                if d.merged:
                    out = panel.first * SIMD_WIDTH
                else:
                    out = (image * out_blocks + panel.first) * out_block + row * phase.out_step_h * d.line * SIMD_WIDTH
                finish.residual = c.residual + out if c.residual else NULL
                panel_tiles(d, phase, tables, images, row, rows, c.source.height, panel,
                            rest if b == in_blocks else 0, &depth, x,
                            packed + phase.weights + (panel.weights + (a - panel.in_first) * SIMD_WIDTH * lanes) * taps,
                            target + out, out_block, a > panel.in_first,
                            &finish if b == panel.in_end else NULL, spoiled)
        chunk = chunk_end
    if d.merged:
        spread_band(d, c, target, image, images, row)


cdef prefetcher next_band(const Direct* d, const Convolved* c, int64_t task) noexcept nogil:
    # What a task copies, for the one before it to prefetch; nothing where that one has copied the same, or after the
    # last.
    cdef int64_t rest = task // d.parts, blocks = blocks_of(c.source.channels)
    cdef int64_t row = rest % d.bands * d.rows * d.step_h + d.top, image = rest // d.bands * d.images
    cdef int64_t first = most(row, 0), end = least(row + d.height, c.source.height)
    cdef int64_t line = c.source.width * SIMD_WIDTH, plane = c.source.height * line
    cdef prefetcher band
    memset(&band, 0, sizeof(band))
    if task % d.parts == 0 and image < c.n:
        prefetch_add(&band, c.source.data + image * blocks * plane + first * line, plane,
                 least(d.images, c.n - image) * blocks, (end - first) * line // PREFETCH_LINE)
        prefetch_spread(&band, d.products)
    return band


cdef void direct(const Direct* d, const Convolved* c, const float* packed, float* band, int64_t begin,
                 int64_t end) noexcept nogil:
    cdef int64_t task, rest, part, row, image
    cdef prefetcher band_after
    cdef prefetcher* next
    for task in range(begin, end):
        part, rest = task % d.parts, task // d.parts
        row, image = rest % d.bands * d.rows, rest // d.bands * d.images
        next = d.prefetcher
        if d.products:
            band_after = next_band(d, c, task + 1)
            next = &band_after
        direct_band(d, c, packed, image, least(d.images, c.n - image), row, share(d.panel_count, d.parts, part),
                    share(d.panel_count, d.parts, part + 1), band, next)


cdef Convolved forward_sides(const Conv2dDirectF32* a) noexcept nogil:
    cdef const Convolution* p = &a.convolution
    cdef Convolved c
    c.n = p.n
    c.source.data, c.source.channels, c.source.height, c.source.width = a.x, p.c, p.h, p.w
    c.target.data, c.target.channels, c.target.height, c.target.width = a.y, p.oc, p.oh, p.ow
    c.bias, c.residual = a.bias, a.residual
    c.low, c.high = <float> a.clamp.low, <float> a.clamp.high
    return c


cdef Convolved gradient_sides(const Conv2dInputGradDirectF32* a) noexcept nogil:
    cdef const Convolution* p = &a.convolution
    cdef Convolved c
    c.n = p.n
    c.source.data, c.source.channels, c.source.height, c.source.width = a.dy, p.oc, p.oh, p.ow
    c.target.data, c.target.channels, c.target.height, c.target.width = a.dx, p.c, p.h, p.w
    if a.extra.merged:
        c.target.channels *= a.extra.merged
    c.bias = c.residual = NULL
    c.low, c.high = -INFINITY, INFINITY
    return c


cdef void conv2d_direct(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Conv2dDirectF32* a = <const Conv2dDirectF32*> args
    cdef Convolved c = forward_sides(a)
    direct(&a.extra, &c, a.memory.scratch, workspace_of(&a.memory, thread), begin, end)


cdef void conv2d_input_grad_direct(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Conv2dInputGradDirectF32* a = <const Conv2dInputGradDirectF32*> args
    cdef Convolved c = gradient_sides(a)
    direct(&a.extra, &c, a.memory.scratch, workspace_of(&a.memory, thread), begin, end)
