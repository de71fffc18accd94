# Depthwise convolution over activations in blocks of channels. A weight is packed as a vector for each tap and block.

cdef extern from "depthwise_weight.h" nogil:
    const int DEPTHWISE_BAND
    const int DEPTHWISE_RUN
    ctypedef struct depthwise_finish:
        const float* residual
    ctypedef void (*depthwise_maker)(const window_axis* h, const window_axis* v, const float* x, const float* w,
                                    float* out, int64_t out_width, const depthwise_finish* f, int64_t row,
                                    int64_t row_end, const float** taps, const float* zeros) noexcept nogil
    void depthwise_finish_channels(depthwise_finish* f, const float* bias, const float* residual, double low,
                                   double high, int64_t channels)
    depthwise_maker depthwise_choose(const window_axis* h, const window_axis* v, int64_t* phases)
    void depthwise_weight_band(const window_axis* h, const window_axis* v, const float* dy, const float* x,
                               int64_t row, int64_t row_end, const float* zeros, float* total)
    void depthwise_weight_merge(const float* total, int64_t chunks, int64_t pitch, int64_t taps, float* dw,
                                int64_t channels)


cdef struct DepthwisePhase:
    # The positions of an axis of the input gradient that are phase, phase + stride, ...: their axis, and the taps that
    # reach them, last_tap - k * back.
    window_axis axis
    int64_t last_tap, back


cdef inline int64_t channel_blocks(int64_t channels) noexcept nogil:
    return ceil_div(channels, SIMD_WIDTH)


cdef inline void pack_tap(float* to, const float* weight, const Convolution* p, int64_t block,
                          int64_t tap) noexcept nogil:
    # The weights of one tap for the channels of a block, zero behind the last one.
    cdef int64_t lane, channel
    for lane in range(SIMD_WIDTH):
        channel = block * SIMD_WIDTH + lane
        to[lane] = weight[channel * p.kh * p.kw + tap] if channel < p.c else 0


cdef void depthwise_blocked_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task packs one block of channels.
    cdef const Conv2dPartsF32* a = <const Conv2dPartsF32*> args
    cdef const Convolution* p = &a.convolution
    cdef int64_t taps = p.kh * p.kw, task, tap
    for task in range(begin, end):
        for tap in range(taps):
            pack_tap(a.memory.scratch + (task * taps + tap) * SIMD_WIDTH, a.weight, p, task, tap)


cdef void depthwise_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows of one plane; the blocks of an image's rows follow each other, so that a thread makes the
    # same rows in one layer after the other. Workspace: a pointer for each tap row, a row of zeros.
    cdef const Conv2dPartsF32* a = <const Conv2dPartsF32*> args
    cdef const Convolution* p = &a.convolution
    cdef int64_t parts = a.extra.parts, task, plane, part, block, blocks = channel_blocks(p.c)
    cdef double low = a.clamp.low, high = a.clamp.high
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    cdef int64_t phases
    cdef depthwise_maker rows = depthwise_choose(&h, &v, &phases)
    cdef const float** taps = <const float**> workspace_of(&a.memory, thread)
    cdef float* zeros = <float*> (taps + p.kh)
    cdef const float* residual
    cdef depthwise_finish finish
    memset(zeros, 0, p.w * SIMD_WIDTH * sizeof(float))
    for task in range(begin, end):
        block, part = task % blocks, task // blocks % parts
        plane = task // (blocks * parts) * blocks + block
        residual = a.residual
        if residual:
            residual += plane * p.oh * p.ow * SIMD_WIDTH
        depthwise_finish_channels(&finish, a.bias + block * SIMD_WIDTH if a.bias else NULL, residual, low,
                                  high, p.c - block * SIMD_WIDTH)
        rows(&h, &v, a.x + plane * p.h * p.w * SIMD_WIDTH,
             a.memory.scratch + block * p.kh * p.kw * SIMD_WIDTH, a.y + plane * p.oh * p.ow * SIMD_WIDTH, p.ow,
             &finish, share(p.oh, parts, part), share(p.oh, parts, part + 1), taps, zeros)


cdef inline int64_t grad_phases(int64_t stride, int64_t size) noexcept nogil:
    # Those that have a position, and both where there are two.
    return least(stride, most(size, 2))


cdef DepthwisePhase grad_phase(int64_t kernel, int64_t stride, int64_t pad, int64_t dilation, int64_t in_size,
                               int64_t size, int64_t phase) noexcept nogil:
    cdef DepthwisePhase f
    f.axis = window_grad_axis(kernel, stride, pad, dilation, in_size, size, phase, &f.last_tap, &f.back)
    return f


cdef void depthwise_blocked_input_grad_pack(const int64_t* args, int64_t begin, int64_t end,
                                            int64_t thread) noexcept nogil:
    # A task packs one block of channels, phase after phase.
    cdef const Conv2dInputGradBandsF32* a = <const Conv2dInputGradBandsF32*> args
    cdef const Convolution* p = &a.convolution
    cdef int64_t task, top, left, i, j
    cdef DepthwisePhase h, v
    cdef float* to
    for task in range(begin, end):
        to = a.memory.scratch + task * p.kh * p.kw * SIMD_WIDTH
        for top in range(grad_phases(p.stride_h, p.h)):
            h = grad_phase(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.oh, p.h, top)
            for left in range(grad_phases(p.stride_w, p.w)):
                v = grad_phase(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.ow, p.w, left)
                for i in range(h.axis.taps):
                    for j in range(v.axis.taps):
                        pack_tap(to, a.weight, p, task,
                                 (h.last_tap - i * h.back) * p.kw + v.last_tap - j * v.back)
                        to += SIMD_WIDTH


cdef void depthwise_blocked_input_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows of one plane, a band after the other and in it the phases of the stride; tasks are in the
    # order of the forward pass. Workspace: the axes of the phases, a pointer for each tap row, a row of zeros.
    cdef const Conv2dInputGradBandsF32* a = <const Conv2dInputGradBandsF32*> args
    cdef const Convolution* p = &a.convolution
    cdef int64_t parts = a.extra.parts, band = a.extra.band, task, plane, part, block
    cdef int64_t blocks = channel_blocks(p.c), top, left, row
    cdef int64_t phases, i, row_end, rows = ceil_div(p.h, p.stride_h)
    cdef window_axis* h = <window_axis*> workspace_of(&a.memory, thread)
    cdef int64_t tops = grad_phases(p.stride_h, p.h), lefts = grad_phases(p.stride_w, p.w)
    cdef window_axis* v = h + tops
    cdef const float** taps = <const float**> (v + lefts)
    cdef float* zeros = <float*> (taps + p.kh)
    cdef const float* weight
    cdef depthwise_maker make
    cdef depthwise_finish finish
    memset(zeros, 0, p.ow * SIMD_WIDTH * sizeof(float))
    depthwise_finish_channels(&finish, NULL, NULL, -INFINITY, INFINITY, SIMD_WIDTH)
    for top in range(tops):
        h[top] = grad_phase(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.oh, p.h, top).axis
    for left in range(lefts):
        v[left] = grad_phase(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.ow, p.w, left).axis
    for task in range(begin, end):
        block, part = task % blocks, task // blocks % parts
        plane = task // (blocks * parts) * blocks + block
        row = share(rows, parts, part)
        while row < share(rows, parts, part + 1):
            row_end = least(row + band, share(rows, parts, part + 1))
            weight = a.memory.scratch + block * p.kh * p.kw * SIMD_WIDTH
            for top in range(tops):
                left = 0
                while left < lefts:
                    make = depthwise_choose(&h[top], &v[left], &phases)
                    make(&h[top], &v[left], a.dy + plane * p.oh * p.ow * SIMD_WIDTH, weight,
                         a.dx + plane * p.h * p.w * SIMD_WIDTH, p.w, &finish, row,
                         least(row_end, h[top].count), taps, zeros)
                    for i in range(phases):
                        weight += h[top].taps * v[left + i].taps * SIMD_WIDTH
                    left += phases
            row = row_end


cdef inline int64_t depthwise_chunk_size(const Convolution* p) noexcept nogil:
    # Floats of the sums of a chunk, [block][tap][SIMD_WIDTH].
    cdef int64_t sums = channel_blocks(p.c) * p.kh * p.kw * SIMD_WIDTH
    return whole_lines(sums * <int64_t> sizeof(float)) // <int64_t> sizeof(float)


cdef void depthwise_blocked_weight_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task sums one chunk of the rows of all images, for every block of channels. Workspace: a row of zeros.
    cdef const Conv2dWeightGradPartialChunksF32* a = <const Conv2dWeightGradPartialChunksF32*> args
    cdef const Convolution* p = &a.convolution
    cdef int64_t chunks = a.extra.chunks, task, block, image, row, first, stop, plane, size = p.kh * p.kw * SIMD_WIDTH
    cdef int64_t blocks = channel_blocks(p.c), band = least(DEPTHWISE_BAND, most(1, DEPTHWISE_RUN // 2 // p.ow))
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    cdef float* zeros = workspace_of(&a.memory, thread)
    cdef float* total
    memset(zeros, 0, p.w * SIMD_WIDTH * sizeof(float))
    for task in range(begin, end):
        total = a.memory.scratch + task * depthwise_chunk_size(p)
        if not a.extra.accumulate:
            memset(total, 0, blocks * size * sizeof(float))
        first = share(p.n * p.oh, chunks, task)
        while first < share(p.n * p.oh, chunks, task + 1):
            image = first // p.oh
            stop = least(share(p.n * p.oh, chunks, task + 1), (image + 1) * p.oh)
            for block in range(blocks):
                plane = image * blocks + block
                row = first
                while row < stop:
                    depthwise_weight_band(&h, &v, a.dy + plane * p.oh * p.ow * SIMD_WIDTH,
                                          a.x + plane * p.h * p.w * SIMD_WIDTH, row - image * p.oh,
                                          least(row + band, stop) - image * p.oh, zeros, total + block * size)
                    row += band
            first = stop


cdef void depthwise_blocked_weight_grad_merge(const int64_t* args, int64_t begin, int64_t end,
                                              int64_t thread) noexcept nogil:
    # A task adds up the chunks of one block of channels.
    cdef const Conv2dWeightGradPartialChunksF32* a = <const Conv2dWeightGradPartialChunksF32*> args
    cdef const Convolution* p = &a.convolution
    cdef int64_t taps = p.kh * p.kw, task
    for task in range(begin, end):
        depthwise_weight_merge(a.memory.scratch + task * taps * SIMD_WIDTH, a.extra.chunks, depthwise_chunk_size(p),
                               taps, a.dw + task * SIMD_WIDTH * taps, least(SIMD_WIDTH, p.c - task * SIMD_WIDTH))
