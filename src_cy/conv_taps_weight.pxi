# The weight gradient of kernels with several taps in a row, as the sum of outer products of conv_direct_weight.pxi with
# the sides exchanged: the columns are the channels of a block of x under several taps of a row, the rows are output
# channels, so that a value of dy is loaded once for all these taps. Bands of x and their copies are the same.

cdef extern from "taps.h" nogil:
    const int TAPS_TOGETHER
    int64_t taps_next(int64_t left)


cdef extern from "outer_product.h" nogil:
    void outer_taps(int64_t rows, int64_t taps, const outer_row* row, const outer_walk* walk, const float* left,
                    const float* right, int64_t tap, float* out, int64_t accumulate)


cdef int64_t tap_sums_size(const Convolution* p) noexcept nogil:
    # Floats of the sums of a chunk, [block of input channels][output channel][tap][SIMD_WIDTH].
    cdef int64_t sums = ceil_div(p.c, SIMD_WIDTH) * p.oc * p.kh * p.kw * SIMD_WIDTH
    return whole_lines(sums * <int64_t> sizeof(float)) // <int64_t> sizeof(float)


cdef outer_walk rows_within(const Convolution* p, const Band* band, const outer_walk* walk, int64_t tap,
                            int64_t* first) noexcept nogil:
    # The walk from the `first` row of a band on that the given row of the kernel reads inside the image; where it reads
    # none, a row of zeros.
    cdef outer_walk within = walk[0]
    cdef window_axis axis = window_axis_of(1, 1, tap * p.dilation_h - p.pad_top, p.stride_h, p.h, p.oh)
    first[0] = most(0, least(axis.inside - band.row, band.rows - 1))
    within.count[1] = most(1, least(band.rows, axis.inside_end - band.row) - first[0])
    return outer_longest_inside(within)


cdef prefetcher prefetch_band(const Convolution* p, const WeightSplit* w, int64_t index, int64_t block, int64_t blocks,
                              int64_t first_dy, int64_t end_dy, const float* x, const float* dy,
                              int64_t products) noexcept nogil:
    # To ask, a little with each of so many multiply-adds, for a band: of x one block or all, of dy the given blocks.
    # Nothing where bands cut rows.
    cdef Band band = weight_band(p, w, index)
    cdef int64_t first = most(band.row * p.stride_h - p.pad_top, 0), x_blocks = ceil_div(p.c, SIMD_WIDTH)
    cdef int64_t end = least((band.row + band.rows - 1) * p.stride_h - p.pad_top + (p.kh - 1) * p.dilation_h + 1, p.h)
    cdef int64_t line = p.w * SIMD_WIDTH, plane = p.h * line, dy_line = p.ow * SIMD_WIDTH, dy_plane = p.oh * dy_line
    cdef int64_t dy_blocks = ceil_div(p.oc, SIMD_WIDTH), image
    cdef bint whole = end_dy - first_dy == dy_blocks
    cdef prefetcher next
    memset(&next, 0, sizeof(next))
    if w.col_bands > 1:
        return next
    prefetch_add(&next, x + (band.image * x_blocks + block) * plane + first * line,
             plane if blocks > 1 else x_blocks * plane, band.images * blocks, (end - first) * line // PREFETCH_LINE)
    for image in range(1 if whole else band.images):
        prefetch_add(&next, dy + ((band.image + image) * dy_blocks + first_dy) * dy_plane + band.row * dy_line, dy_plane,
                 (end_dy - first_dy) * (band.images if whole else 1), band.rows * dy_line // PREFETCH_LINE)
    prefetch_spread(&next, products)
    return next


cdef outer_walk band_walk(const Convolution* p, const Band* band, const Steps* s) noexcept nogil:
    # Over the pixels of dy, and of x as it lies in steps of ``s``.
    cdef int64_t line = p.ow * SIMD_WIDTH
    cdef outer_walk walk
    walk.count[0], walk.count[1], walk.count[2] = band.images, band.rows, band.cols
    walk.left[0], walk.left[1], walk.left[2] = ceil_div(p.oc, SIMD_WIDTH) * p.oh * line, line, SIMD_WIDTH
    walk.right[0], walk.right[1], walk.right[2] = s.image, p.stride_h * s.row, p.stride_w * s.col
    return walk


cdef inline const float* band_dy(const Convolution* p, const Band* band, const float* dy) noexcept nogil:
    # The first block of the first pixel.
    return dy + ((band.image * ceil_div(p.oc, SIMD_WIDTH) * p.oh + band.row) * p.ow + band.col) * SIMD_WIDTH


cdef void tap_sums(const Convolution* p, const Band* band, const Steps* s, const outer_walk* walk, int64_t columns,
                   int64_t column, int64_t first_block, int64_t end_block, const float* x, const float* dy, float* sums,
                   bint accumulate, prefetcher* next) noexcept nogil:
    # One band: block by block of output channels, and for each row by row of the kernel, which has so many vectors of
    # columns, `column` floats apart in x. Sums go to [output channel][row of the kernel][column][SIMD_WIDTH].
    cdef int64_t channel_sums = p.kh * columns * SIMD_WIDTH, block, i, j, row, together, channels, parts, part
    cdef int64_t first, end, pixels
    cdef outer_walk within
    cdef outer_row rows[16]
    for i in range(SIMD_WIDTH):
        rows[i].start, rows[i].to = i, i * channel_sums
    dy += first_block * p.oh * p.ow * SIMD_WIDTH
    sums += first_block * SIMD_WIDTH * channel_sums
    for block in range(first_block, end_block):
        channels = least(SIMD_WIDTH, p.oc - block * SIMD_WIDTH)
        for i in range(p.kh):
            within = rows_within(p, band, walk, i, &row)
            pixels = within.count[0] * within.count[1] * within.count[2]
            j = 0
            while j < columns:
                together = taps_next(columns - j)
                parts = ceil_div(channels, OUTER_ROWS(together))
                for part in range(parts):
                    first, end = share(channels, parts, part), share(channels, parts, part + 1)
                    prefetch_step(next, (end - first) * together * pixels)
                    outer_taps(end - first, together, rows + first, &within, dy + row * walk.left[1],
                               x + row * walk.right[1] + i * p.dilation_h * s.row + j * column, column,
                               sums + (i * columns + j) * SIMD_WIDTH, accumulate)
                j += together
        dy += p.oh * p.ow * SIMD_WIDTH
        sums += SIMD_WIDTH * channel_sums


cdef void conv2d_weight_grad_taps(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a chunk of the bands for a part of the blocks of input channels.
    cdef const Conv2dWeightGradWeightSplitF32* a = <const Conv2dWeightGradWeightSplitF32*> args
    cdef const WeightSplit* w = &a.extra
    cdef Convolution convolution = weight_problem(a)
    cdef const Convolution* p = &convolution
    cdef int64_t blocks = ceil_div(p.c, SIMD_WIDTH), bands = w.image_bands * w.row_bands * w.col_bands
    cdef int64_t dy_blocks = ceil_div(p.oc, SIMD_WIDTH)
    cdef int64_t index, part, chunk, band, first_band, end_band, block, first_block, end_block, plane, last
    cdef float* copy = workspace_of(&a.memory, thread)
    cdef const float* x
    cdef float* sums
    cdef Steps s = weight_steps(p, w)
    cdef Band now
    cdef outer_walk walk
    cdef prefetcher after
    cdef prefetcher* next
    for index in range(begin, end):
        part, chunk = index % w.channel_parts, index // w.channel_parts
        sums = a.memory.scratch + chunk * tap_sums_size(p)
        first_band, end_band = share(bands, w.chunks, chunk), share(bands, w.chunks, chunk + 1)
        first_block, end_block = share(blocks, w.channel_parts, part), share(blocks, w.channel_parts, part + 1)
        for band in range(first_band, end_band):
            now = weight_band(p, w, band)
            walk = band_walk(p, &now, &s)
            for block in range(first_block, end_block):
                next = w.prefetcher
                last = block + 1 == end_block
                if w.ahead and band + last < end_band:
                    after = prefetch_band(p, w, band + last, first_block if last else block + 1, 1, 0, dy_blocks * last,
                                      a.x, a.dy,
                                      now.images * now.rows * now.cols * p.oc * p.kh * p.kw)
                    next = &after
                if w.copied:
                    weight_copy(p, w, &now, &s, block, 1, a.x, copy)
                    x = copy
                else:
                    plane = now.image * blocks + block
                    x = a.x + ((plane * p.h + now.row * p.stride_h) * p.w + now.col * p.stride_w) * SIMD_WIDTH
                tap_sums(p, &now, &s, &walk, p.kw, p.dilation_w * s.col, 0, dy_blocks, x,
                         band_dy(p, &now, a.dy), sums + block * p.oc * p.kh * p.kw * SIMD_WIDTH,
                         w.accumulate or band > first_band, next)


cdef void conv2d_weight_grad_merge_taps(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task adds up the chunks for an output channel and a block of input channels.
    cdef const Conv2dWeightGradWeightSplitF32* a = <const Conv2dWeightGradWeightSplitF32*> args
    cdef const WeightSplit* w = &a.extra
    cdef Convolution convolution = weight_problem(a)
    cdef const Convolution* p = &convolution
    cdef int64_t taps = p.kh * p.kw, task, block, channel
    cdef float* total = workspace_of(&a.memory, thread)
    for task in range(begin, end):
        block, channel = task // p.oc, task % p.oc
        outer_merge(total, a.memory.scratch + task * taps * SIMD_WIDTH, taps * SIMD_WIDTH, w.chunks, tap_sums_size(p))
        transpose(a.dw + (channel * p.c + block * SIMD_WIDTH) * taps, taps, taps, total, SIMD_WIDTH, taps,
                  least(SIMD_WIDTH, p.c - block * SIMD_WIDTH))
