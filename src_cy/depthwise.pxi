# Depthwise convolution: one input plane an output plane. A band of rows is copied with its zero border into the
# workspace, where every tap of every pixel can then be read as a whole vector. With a column stride the columns of a
# band are kept apart by their phase, so that neighbouring output pixels read neighbours.

cdef extern from "rows.h" nogil:
    const int DEPTHWISE_ROWS
    const int DEPTHWISE_TAPS
    void band_copy(float* to, const float* x, int64_t size, int64_t plane, int64_t h, int64_t w, int64_t row_first,
                   int64_t rows, int64_t col_first, int64_t phases, int64_t pitch)
    void depthwise_rows(int64_t rows, int64_t taps, const int64_t* at, const float* weight, const float* band,
                        int64_t row_step, float bias, float* out, int64_t out_pitch)
    void correlate_rows(int64_t taps, const int64_t* at, const float* dy, int64_t dy_pitch, const float* band,
                        int64_t row_step, int64_t rows, int64_t vectors, double* total)


cdef inline int64_t whole_vectors(int64_t count) noexcept nogil:
    return ceil_div(count, SIMD_WIDTH) * SIMD_WIDTH


cdef void depthwise_grid(const float* band, int64_t row_step, int64_t taps, const int64_t* at, const float* weight,
                         float bias, int64_t rows, int64_t cols, float* out, int64_t out_row_step,
                         int64_t out_col_step) noexcept nogil:
    # All pixels of a grid whose window starts are row_step apart in the band.
    cdef float buffer[8 * 16]
    cdef int64_t row = 0, col, count, lanes, r, l
    while row < rows:
        count = least(DEPTHWISE_ROWS, rows - row)
        col = 0
        while col < cols:
            lanes = least(SIMD_WIDTH, cols - col)
            if lanes == SIMD_WIDTH and out_col_step == 1:
                depthwise_rows(count, taps, at, weight, band + row * row_step + col, row_step, bias,
                               out + row * out_row_step + col, out_row_step)
            else:
                depthwise_rows(count, taps, at, weight, band + row * row_step + col, row_step, bias, buffer,
                               SIMD_WIDTH)
                for r in range(count):
                    for l in range(lanes):
                        out[(row + r) * out_row_step + (col + l) * out_col_step] = buffer[r * SIMD_WIDTH + l]
            col += SIMD_WIDTH
        row += count


cdef int64_t forward_band(const Numbers* p, int64_t* at) noexcept nogil:
    # Where each tap lies in a band with the columns' phases apart; returns the pitch of a phase.
    cdef int64_t pitch = whole_vectors(whole_vectors(p.ow) + (p.kw - 1) * p.dilation_w // p.stride_w), i, j, col
    for i in range(p.kh):
        for j in range(p.kw):
            col = j * p.dilation_w
            at[i * p.kw + j] = (i * p.dilation_h * p.stride_w + col % p.stride_w) * pitch + col // p.stride_w
    return pitch


cdef void conv2d_depthwise(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane; extra = output rows of a band. Workspace: where the taps lie, then the band.
    cdef const Numbers* p = <const Numbers*> &args[8]
    cdef int64_t taps = p.kh * p.kw, task, channel, row, rows, pitch, reach = (p.kh - 1) * p.dilation_h + 1
    cdef int64_t* at = <int64_t*> workspace(args, 6, thread)
    cdef float* band = <float*> (at + taps)
    cdef const float* bias = array(args, 2)
    pitch = forward_band(p, at)
    for task in range(begin, end):
        channel = task % p.c
        row = 0
        while row < p.oh:
            rows = least(p.extra[2], p.oh - row)
            band_copy(band, array(args, 0), p.n * p.c * p.h * p.w, task * p.h * p.w, p.h, p.w,
                      row * p.stride_h - p.pad_top, (rows - 1) * p.stride_h + reach, -p.pad_left, p.stride_w, pitch)
            depthwise_grid(band, p.stride_h * p.stride_w * pitch, taps, at, array(args, 1) + channel * taps,
                           bias[channel] if bias else 0, rows, p.ow, array(args, 4) + (task * p.oh + row) * p.ow,
                           p.ow, 1)
            row += rows


cdef void conv2d_input_grad_depthwise(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane, the pixels of each phase of the stride as a grid of their own over a band of dy; extra =
    # grid rows of a band. Workspace: where the taps of a phase lie, their weights, then the band.
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef int64_t taps = p.kh * p.kw, task, phase, row, rows, pitch, count, i, j, top, left, above, before
    cdef int64_t* at = <int64_t*> workspace(args, 4, thread)
    cdef float* weight = <float*> (at + taps)
    cdef float* band = weight + taps
    cdef const float* source
    cdef axis_taps th, tw
    above = floor_div((p.kh - 1) * p.dilation_h - p.pad_top, p.stride_h)
    before = floor_div((p.kw - 1) * p.dilation_w - p.pad_left, p.stride_w)
    pitch = whole_vectors(whole_vectors(ceil_div(p.w, p.stride_w)) + before
                          + (p.stride_w - 1 + p.pad_left) // p.stride_w)
    for task in range(begin, end):
        source = array(args, 1) + task % p.c * taps
        row = 0
        while row * p.stride_h < p.h:
            rows = least(p.extra[0], ceil_div(p.h, p.stride_h) - row)
            band_copy(band, array(args, 0), p.n * p.c * p.oh * p.ow, task * p.oh * p.ow, p.oh, p.ow, row - above,
                      rows + above + (p.stride_h - 1 + p.pad_top) // p.stride_h, -before, 1, pitch)
            for phase in range(p.stride_h * p.stride_w):
                top, left = phase // p.stride_w, phase % p.stride_w
                th = phase_taps(p.kh, p.stride_h, p.pad_top, p.dilation_h, top)
                tw = phase_taps(p.kw, p.stride_w, p.pad_left, p.dilation_w, left)
                count = 0
                for i in range(th.count):
                    for j in range(tw.count):
                        at[count] = ((th.shift + i * th.shift_step + above) * pitch
                                     + tw.shift + j * tw.shift_step + before)
                        weight[count] = source[(th.first + i * th.tap_step) * p.kw + tw.first + j * tw.tap_step]
                        count += 1
                depthwise_grid(band, pitch, count, at, weight, 0,
                               least(rows, ceil_div(p.h - top, p.stride_h) - row), ceil_div(p.w - left, p.stride_w),
                               array(args, 2) + (task * p.h + row * p.stride_h + top) * p.w + left,
                               p.stride_h * p.w, p.stride_w)
            row += rows


cdef void conv2d_weight_grad_depthwise(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes the taps of one channel; extra = output rows of a band. Workspace: where the taps lie, their sums, a
    # band of dy, a band of x.
    cdef const Numbers* p = <const Numbers*> &args[6]
    cdef int64_t taps = p.kh * p.kw, parts = ceil_div(taps, DEPTHWISE_TAPS), reach = (p.kh - 1) * p.dilation_h + 1
    cdef int64_t task, image, plane, row, rows, pitch, part, first, i, width = whole_vectors(p.ow)
    cdef int64_t* at = <int64_t*> workspace(args, 4, thread)
    cdef double* total = <double*> (at + taps)
    cdef float* dy = <float*> (total + taps)
    cdef float* band = dy + p.extra[0] * width
    pitch = forward_band(p, at)
    for task in range(begin, end):
        for i in range(taps):
            total[i] = 0
        for image in range(p.n):
            plane = image * p.c + task
            row = 0
            while row < p.oh:
                rows = least(p.extra[0], p.oh - row)
                band_copy(dy, array(args, 0), p.n * p.c * p.oh * p.ow, plane * p.oh * p.ow, p.oh, p.ow, row, rows, 0, 1,
                          width)
                band_copy(band, array(args, 1), p.n * p.c * p.h * p.w, plane * p.h * p.w, p.h, p.w,
                          row * p.stride_h - p.pad_top, (rows - 1) * p.stride_h + reach, -p.pad_left, p.stride_w, pitch)
                for part in range(parts):
                    first = share(taps, parts, part)
                    correlate_rows(share(taps, parts, part + 1) - first, at + first, dy, width, band,
                                   p.stride_h * p.stride_w * pitch, rows, width // SIMD_WIDTH, total + first)
                row += rows
        for i in range(taps):
            array(args, 2)[task * taps + i] = <float> total[i]
