# What direct convolution prepares once for its weights: panels of them, and the tables of its pixels and taps.

cdef extern from "pack_weights.h" nogil:
    void pack_square(float* to, const float* weights, int64_t output_step, int64_t input_step, int64_t inputs,
                     int64_t taps)
    void pack_vectors(float* to, int64_t to_step, const float* vectors, int64_t count)
    void pack_spanned(float* to, int64_t span, int64_t vectors, const float* square, int64_t inputs)


cdef struct Kernels:
    # Weights, `taps` each for an output and an input channel; both count in their group, of `outputs` and `inputs`
    # channels. The steps are floats between neighbouring channels and groups.
    const float* data
    const Convolution* window
    int64_t outputs, inputs, output_step, input_step, group_step, taps, kernel_width


cdef void weight_square(const Kernels* k, int64_t out, int64_t outs, int64_t channel, int64_t channels,
                        float* to) noexcept nogil:
    # [tap][V inputs][V outputs] for `channels` inputs and `outs` outputs from the given ones, absent (absent.h) where the
    # groups differ and for lanes that hold no output.
    cdef int64_t group = out // k.outputs, lane, c, t
    cdef const float* weight
    if (outs == SIMD_WIDTH and (out + outs - 1) // k.outputs == group and channel >= group * k.inputs
            and channel + channels <= (group + 1) * k.inputs):
        weight = (k.data + group * k.group_step + (out - group * k.outputs) * k.output_step
                  + (channel - group * k.inputs) * k.input_step)
        pack_square(to, weight, k.output_step, k.input_step, channels, k.taps)
        if k.window.groups > 1:
            pack_present(to, k.taps * SIMD_WIDTH)
        return
    pack_absent(to, k.taps * SIMD_WIDTH)
    for lane in range(outs):
        group = (out + lane) // k.outputs
        weight = k.data + group * k.group_step + (out + lane - group * k.outputs) * k.output_step
        for c in range(most(group * k.inputs - channel, 0), least((group + 1) * k.inputs - channel, channels)):
            for t in range(k.taps):
                to[(t * SIMD_WIDTH + c) * SIMD_WIDTH + lane] = present(weight[(channel + c - group * k.inputs)
                                                                              * k.input_step + t])


cdef int64_t phase_of_tap(int64_t tap, int64_t pad, int64_t stride) noexcept nogil:
    # The phase of the input positions that a tap reaches, without dilation.
    cdef int64_t phase = (tap - pad) % stride
    return phase + stride if phase < 0 else phase


cdef void merged_tap(const Kernels* k, const float* weight, int64_t first, int64_t outs, int64_t channels,
                     float* to) noexcept nogil:
    # The weights of one tap to the outputs of its phase, of which the first one lies `first` lanes on.
    cdef int64_t lane, c
    for lane in range(most(first, 0), least(first + k.outputs, outs)):
        for c in range(channels):
            to[c * SIMD_WIDTH + lane] = present(weight[c * k.input_step + (lane - first) * k.output_step])


cdef void merged_square(const Kernels* k, const Grid* phase, int64_t out, int64_t outs, int64_t channel,
                        int64_t channels, float* to) noexcept nogil:
    # As weight_square, where an output is a channel of a phase and a tap is a position of what is read. Taps of phases
    # that lie wholly behind a narrow image have no position.
    cdef const Convolution* p = k.window
    cdef int64_t i, j, h, w, row, col
    pack_absent(to, k.taps * SIMD_WIDTH)
    for i in range(p.kh):
        row = phase_of_tap(i, p.pad_top, p.stride_h)
        while row < phase.out_step_h:
            h = (row + p.pad_top - i) // p.stride_h - phase.rows.shift
            for j in range(p.kw):
                col = phase_of_tap(j, p.pad_left, p.stride_w)
                w = (col + p.pad_left - j) // p.stride_w - phase.cols.shift
                if 0 <= h < phase.rows.taps and 0 <= w < phase.cols.taps:
                    merged_tap(k, k.data + channel * k.input_step + i * p.kw + j,
                               (row * phase.out_step_w + col) * k.outputs - out, outs, channels,
                               to + (h * phase.cols.taps + w) * SIMD_WIDTH * SIMD_WIDTH)
            row += p.stride_h


cdef void pack_panel(const Kernels* k, const Direct* d, const Panel* panel, float* packed, float* square,
                     const Convolved* c) noexcept nogil:
    # For each phase [input block][tap][V / span][vectors * V], then [tap][channels of the last block / span].
    cdef int64_t lanes = panel.vectors * SIMD_WIDTH // panel.span, vector, out, outs, b, channels, f, i, j, taps
    cdef const Grid* phase
    cdef const float* tap
    cdef float* to
    for vector in range(panel.blocks):
        out = (panel.first + vector) * SIMD_WIDTH
        for b in range(panel.in_first, panel.in_end):
            channels = least(SIMD_WIDTH, c.source.channels - b * SIMD_WIDTH)
            outs = least(SIMD_WIDTH, c.target.channels - out)
            if d.merged:
                merged_square(k, grids_of(d), out, outs, b * SIMD_WIDTH, channels, square)
            else:
                weight_square(k, out, outs, b * SIMD_WIDTH, channels, square)
            for f in range(d.grid_count):
                phase = grids_of(d) + f
                taps = phase.rows.taps * phase.cols.taps
                to = (packed + phase.weights + vector * SIMD_WIDTH
                      + (panel.weights + (b - panel.in_first) * SIMD_WIDTH * lanes) * taps)
                for i in range(phase.rows.taps):
                    for j in range(phase.cols.taps):
                        tap = square + ((phase.rows.first + i * phase.rows.step) * k.kernel_width
                                        + phase.cols.first + j * phase.cols.step) * SIMD_WIDTH * SIMD_WIDTH
                        if panel.span == 1:
                            pack_vectors(to, lanes, tap, channels)
                        else:
                            pack_spanned(to, panel.span, panel.vectors, tap, channels)
                        to += ceil_div(channels, panel.span) * panel.vectors * SIMD_WIDTH


cdef void place_pixels(const Direct* d, const Grid* phase, int64_t* tables, const Convolved* c) noexcept nogil:
    # The tables of one phase: where the pixels of a band are read and written, and where its taps lie.
    cdef int64_t* source = tables + phase.sources
    cdef int64_t* target = tables + phase.targets
    cdef int64_t* tap = tables + phase.taps
    cdef int64_t* rest = tables + phase.rest
    cdef int64_t rows = least(d.rows, phase.height), image, i, j, index, channel, offset
    for index in range(d.images * rows):
        image, i = (index % d.images, index // d.images) if phase.apart else (index // rows, index % rows)
        for j in range(phase.width):
            source[0] = image * d.image + i * d.step_h * d.row + j * d.step_w * SIMD_WIDTH
            target[0] = (image * blocks_of(c.target.channels) * c.target.height * c.target.width
                         + (i * phase.out_step_h + phase.out_row) * d.line
                         + j * phase.out_step_w + phase.out_col) * SIMD_WIDTH
            if d.merged:
                target[0] = (((image * d.rows + i) * phase.width + j)
                             * blocks_of(c.target.channels) * SIMD_WIDTH)
            source += 1
            target += 1
    for i in range(phase.rows.taps):
        for j in range(phase.cols.taps):
            offset = ((phase.rows.shift + i * phase.rows.shift_step - d.top) * d.row
                      + (phase.cols.shift + j * phase.cols.shift_step - d.left) * SIMD_WIDTH)
            tap[0] = offset
            tap += 1
            for channel in range(c.source.channels % SIMD_WIDTH):
                rest[0] = offset + channel
                rest += 1


cdef void direct_pack(const Direct* d, const Kernels* k, const Convolved* c, float* packed, float* square,
                      int64_t begin, int64_t end) noexcept nogil:
    # A task packs one panel, the last one makes the tables.
    cdef int64_t task, f
    for task in range(begin, end):
        if task < d.panel_count:
            pack_panel(k, d, panels_of(d) + task, packed, square, c)
        else:
            for f in range(d.grid_count):
                place_pixels(d, grids_of(d) + f, <int64_t*> packed + d.tables // 8, c)


cdef void conv2d_direct_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Conv2dDirectF32* a = <const Conv2dDirectF32*> args
    cdef const Convolution* p = &a.convolution
    cdef Convolved c = forward_sides(a)
    cdef Kernels k
    k.data, k.outputs, k.inputs = a.weight, p.oc // p.groups, p.c // p.groups
    k.taps, k.kernel_width = p.kh * p.kw, p.kw
    k.input_step, k.output_step = k.taps, k.inputs * k.taps
    k.group_step, k.window = k.outputs * k.output_step, p
    direct_pack(&a.extra, &k, &c, a.memory.scratch, workspace_of(&a.memory, thread), begin, end)


cdef void conv2d_input_grad_direct_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Conv2dInputGradDirectF32* a = <const Conv2dInputGradDirectF32*> args
    cdef const Convolution* p = &a.convolution
    cdef const Direct* d = &a.extra
    cdef Convolved c = gradient_sides(a)
    cdef Kernels k
    k.data, k.outputs, k.inputs = a.weight, p.c // p.groups, p.oc // p.groups
    k.taps, k.kernel_width = p.kh * p.kw, p.kw
    k.output_step, k.input_step = k.taps, k.outputs * k.taps
    k.group_step, k.window = k.inputs * k.input_step, p
    if d.merged:
        k.taps, k.kernel_width = grids_of(d).rows.taps * grids_of(d).cols.taps, grids_of(d).cols.taps
    direct_pack(d, &k, &c, a.memory.scratch, workspace_of(&a.memory, thread), begin, end)
