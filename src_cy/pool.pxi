# Pooling; a task makes one plane. NaN in a window is the window's maximum.

from libc.math cimport INFINITY

cdef extern from "rows.h" nogil:
    void row_max(float* y, const float* x, int64_t step, int64_t count)
    void row_add(float* y, const float* x, int64_t step, int64_t count)


cdef struct MaxPool:
    int64_t p, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w


cdef struct AvgPool:
    int64_t p, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, count_include_pad


cdef struct AdaptivePool:
    int64_t p, h, w, oh, ow


cdef inline int64_t first_inside(int64_t offset, int64_t stride) noexcept nogil:
    # The first i >= 0 with i * stride + offset >= 0.
    return most(0, -floor_div(offset, stride))


cdef inline int64_t end_inside(int64_t offset, int64_t stride, int64_t extent, int64_t count) noexcept nogil:
    # The first i with i * stride + offset >= extent, count at most.
    return least(count, floor_div(extent - 1 - offset, stride) + 1)


cdef void max_pool2d(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const MaxPool* p = <const MaxPool*> &args[5]
    cdef int64_t task, i, j, kh, kw, row, offset, first, last
    cdef float* y
    for task in range(begin, end):
        for i in range(p.oh):
            y = array(args, 1) + (task * p.oh + i) * p.ow
            for j in range(p.ow):
                y[j] = -INFINITY
            for kh in range(p.kh):
                row = i * p.stride_h - p.pad_top + kh * p.dilation_h
                if row < 0 or row >= p.h:
                    continue
                for kw in range(p.kw):
                    offset = kw * p.dilation_w - p.pad_left
                    first = first_inside(offset, p.stride_w)
                    last = end_inside(offset, p.stride_w, p.w, p.ow)
                    row_max(y + first, array(args, 0) + (task * p.h + row) * p.w + offset + first * p.stride_w,
                            p.stride_w, last - first)


cdef void max_pool2d_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # The first of equal maxima takes the gradient, the last NaN where there are any.
    cdef const MaxPool* p = <const MaxPool*> &args[6]
    cdef int64_t task, i, j, kh, kw, row, col, best_at
    cdef const float* x
    cdef const float* dy
    cdef float* dx
    cdef float best, value
    for task in range(begin, end):
        dy = array(args, 0) + task * p.oh * p.ow
        x = array(args, 1) + task * p.h * p.w
        dx = array(args, 2) + task * p.h * p.w
        memset(dx, 0, p.h * p.w * sizeof(float))
        for i in range(p.oh):
            for j in range(p.ow):
                best_at = -1
                best = 0
                for kh in range(p.kh):
                    row = i * p.stride_h - p.pad_top + kh * p.dilation_h
                    if row < 0 or row >= p.h:
                        continue
                    for kw in range(p.kw):
                        col = j * p.stride_w - p.pad_left + kw * p.dilation_w
                        if col < 0 or col >= p.w:
                            continue
                        value = x[row * p.w + col]
                        if best_at < 0 or value > best or value != value:
                            best = value
                            best_at = row * p.w + col
                if best_at >= 0:
                    dx[best_at] += dy[i * p.ow + j]


cdef inline int64_t window_count(int64_t i, int64_t kernel, int64_t stride, int64_t before, int64_t after,
                                 int64_t extent, bint padded) noexcept nogil:
    # Positions of the i-th window of an axis that its average counts.
    cdef int64_t start = i * stride - before
    if padded:
        return least(start + kernel, extent + after) - start
    return least(start + kernel, extent) - most(start, 0)


cdef void avg_pool2d(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const AvgPool* p = <const AvgPool*> &args[5]
    cdef int64_t task, i, j, row, first_row, offset, first, last, rows
    cdef float* y
    for task in range(begin, end):
        for i in range(p.oh):
            y = array(args, 1) + (task * p.oh + i) * p.ow
            for j in range(p.ow):
                y[j] = 0
            first_row = i * p.stride_h - p.pad_top
            for row in range(most(first_row, 0), least(first_row + p.kh, p.h)):
                for offset in range(-p.pad_left, p.kw - p.pad_left):
                    first = first_inside(offset, p.stride_w)
                    last = end_inside(offset, p.stride_w, p.w, p.ow)
                    row_add(y + first, array(args, 0) + (task * p.h + row) * p.w + offset + first * p.stride_w,
                            p.stride_w, last - first)
            rows = window_count(i, p.kh, p.stride_h, p.pad_top, p.pad_bottom, p.h, p.count_include_pad != 0)
            for j in range(p.ow):
                y[j] /= <float> (rows * window_count(j, p.kw, p.stride_w, p.pad_left, p.pad_right, p.w,
                                                     p.count_include_pad != 0))


cdef void avg_pool2d_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const AvgPool* p = <const AvgPool*> &args[5]
    cdef int64_t task, i, j, row, first_row, first_col, col, rows
    cdef const float* dy
    cdef float* dx
    cdef float part
    for task in range(begin, end):
        dx = array(args, 1) + task * p.h * p.w
        memset(dx, 0, p.h * p.w * sizeof(float))
        for i in range(p.oh):
            dy = array(args, 0) + (task * p.oh + i) * p.ow
            first_row = i * p.stride_h - p.pad_top
            rows = window_count(i, p.kh, p.stride_h, p.pad_top, p.pad_bottom, p.h, p.count_include_pad != 0)
            for j in range(p.ow):
                first_col = j * p.stride_w - p.pad_left
                part = dy[j] / <float> (rows * window_count(j, p.kw, p.stride_w, p.pad_left, p.pad_right, p.w,
                                                            p.count_include_pad != 0))
                for row in range(most(first_row, 0), least(first_row + p.kh, p.h)):
                    for col in range(most(first_col, 0), least(first_col + p.kw, p.w)):
                        dx[row * p.w + col] += part


cdef void adaptive_avg_pool2d(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const AdaptivePool* p = <const AdaptivePool*> &args[5]
    cdef int64_t task, i, j, row, row_end, col, col_end
    cdef const float* x
    cdef double total
    for task in range(begin, end):
        x = array(args, 0) + task * p.h * p.w
        for i in range(p.oh):
            row_end = ceil_div((i + 1) * p.h, p.oh)
            for j in range(p.ow):
                col, col_end = share(p.w, p.ow, j), ceil_div((j + 1) * p.w, p.ow)
                if p.ow == 1:
                    row = share(p.h, p.oh, i)
                    total = row_sum(x + row * p.w, (row_end - row) * p.w)
                else:
                    total = 0
                    for row in range(share(p.h, p.oh, i), row_end):
                        total += row_sum(x + row * p.w + col, col_end - col)
                array(args, 1)[(task * p.oh + i) * p.ow + j] = <float> (
                    total / ((row_end - share(p.h, p.oh, i)) * (col_end - col)))


cdef void adaptive_avg_pool2d_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const AdaptivePool* p = <const AdaptivePool*> &args[5]
    cdef int64_t task, i, j, row, row_end, col, col_end
    cdef float* dx
    cdef float part
    for task in range(begin, end):
        dx = array(args, 1) + task * p.h * p.w
        memset(dx, 0, p.h * p.w * sizeof(float))
        for i in range(p.oh):
            row_end = ceil_div((i + 1) * p.h, p.oh)
            for j in range(p.ow):
                col_end = ceil_div((j + 1) * p.w, p.ow)
                part = array(args, 0)[(task * p.oh + i) * p.ow + j] / <float> (
                    (row_end - share(p.h, p.oh, i)) * (col_end - share(p.w, p.ow, j)))
                for row in range(share(p.h, p.oh, i), row_end):
                    for col in range(share(p.w, p.ow, j), col_end):
                        dx[row * p.w + col] += part
