# The weight gradient of kernels with several taps in a row, for channels that do not fill blocks: as in
# conv_taps_weight.pxi, but bands of x are copied so that the channels of a pixel lie right behind those of the one
# before. The columns are then all channels of all taps of a row, in as few vectors as that takes.

cdef extern from "compact_pixels.h" nogil:
    void packed_pixels(float* to, int64_t channels, const float* blocks, int64_t block, int64_t pixels)


cdef inline int64_t packed_vectors(const Convolution* p) noexcept nogil:
    # Of the columns for a row of the kernel.
    return ceil_div(p.kw * p.c, SIMD_WIDTH)


cdef int64_t packed_sums_size(const Convolution* p) noexcept nogil:
    # Floats of the sums of a chunk, [output channel][row of the kernel][vector][SIMD_WIDTH].
    cdef int64_t sums = p.oc * p.kh * packed_vectors(p) * SIMD_WIDTH
    return whole_lines(sums * <int64_t> sizeof(float)) // <int64_t> sizeof(float)


cdef void packed_copy(const Convolution* p, const Band* band, const Steps* s, const float* x, float* to) noexcept nogil:
    # The band, zeros where it reaches beyond the image; a vector behind it is written too.
    cdef int64_t width = s.row // p.c, height = s.image // s.row, plane = p.h * p.w * SIMD_WIDTH
    cdef int64_t top = band.row * p.stride_h - p.pad_top, left = band.col * p.stride_w - p.pad_left
    cdef int64_t first = most(0, least(width, -left)), end = most(first, least(width, p.w - left))
    cdef int64_t blocks = ceil_div(p.c, SIMD_WIDTH), image, line
    cdef float* row = to
    for image in range(band.images):
        for line in range(top, top + height):
            if line < 0 or line >= p.h:
                memset(row, 0, s.row * sizeof(float))
            else:
                memset(row, 0, first * p.c * sizeof(float))
                packed_pixels(row + first * p.c, p.c,
                              x + (band.image + image) * blocks * plane + (line * p.w + left + first) * SIMD_WIDTH,
                              plane, end - first)
                memset(row + end * p.c, 0, (width - end) * p.c * sizeof(float))
            row += s.row
    memset(row, 0, SIMD_WIDTH * sizeof(float))


cdef void conv2d_weight_grad_packed(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a chunk of the bands for a part of the blocks of output channels.
    cdef const Conv2dWeightGradWeightSplitF32* a = <const Conv2dWeightGradWeightSplitF32*> args
    cdef const WeightSplit* w = &a.extra
    cdef Convolution convolution = weight_problem(a)
    cdef const Convolution* p = &convolution
    cdef int64_t bands = w.image_bands * w.row_bands * w.col_bands, blocks = ceil_div(p.oc, SIMD_WIDTH)
    cdef int64_t index, part, chunk, band, first_band, end_band, first, last, channels
    cdef float* copy = workspace_of(&a.memory, thread)
    cdef Steps s
    cdef Band now
    cdef outer_walk walk
    cdef prefetcher after
    cdef prefetcher* next
    s.col = p.c
    for index in range(begin, end):
        part, chunk = index % w.channel_parts, index // w.channel_parts
        first_band, end_band = share(bands, w.chunks, chunk), share(bands, w.chunks, chunk + 1)
        first, last = share(blocks, w.channel_parts, part), share(blocks, w.channel_parts, part + 1)
        channels = least(p.oc, last * SIMD_WIDTH) - first * SIMD_WIDTH
        for band in range(first_band, end_band):
            now = weight_band(p, w, band)
            s.row = ((now.cols - 1) * p.stride_w + p.kw) * p.c
            s.image = ((now.rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1) * s.row
            walk = band_walk(p, &now, &s)
            next = w.prefetcher
            if w.ahead and band + 1 < end_band:
                after = prefetch_band(p, w, band + 1, 0, ceil_div(p.c, SIMD_WIDTH), first, last, a.x,
                                  a.dy,
                                  now.images * now.rows * now.cols * channels * p.kh * packed_vectors(p))
                next = &after
            packed_copy(p, &now, &s, a.x, copy)
            tap_sums(p, &now, &s, &walk, packed_vectors(p), SIMD_WIDTH, first, last, copy,
                     band_dy(p, &now, a.dy), a.memory.scratch + chunk * packed_sums_size(p),
                     w.accumulate or band > first_band, next)


cdef void conv2d_weight_grad_merge_packed(const int64_t* args, int64_t begin, int64_t end,
                                          int64_t thread) noexcept nogil:
    # A task adds up the chunks for an output channel.
    cdef const Conv2dWeightGradWeightSplitF32* a = <const Conv2dWeightGradWeightSplitF32*> args
    cdef const WeightSplit* w = &a.extra
    cdef Convolution convolution = weight_problem(a)
    cdef const Convolution* p = &convolution
    cdef int64_t size = packed_vectors(p) * SIMD_WIDTH, channel, i
    cdef float* total = workspace_of(&a.memory, thread)
    for channel in range(begin, end):
        outer_merge(total, a.memory.scratch + channel * p.kh * size, p.kh * size, w.chunks, packed_sums_size(p))
        for i in range(p.kh):
            transpose(a.dw + (channel * p.c * p.kh + i) * p.kw, p.kh * p.kw, p.kw, total + i * size, p.c,
                      p.kw, p.c)
