# Pooling; a task makes one plane. NaN in a window is the window's maximum.

cdef extern from "rows.h" nogil:
    void row_max(float* y, const float* x, int64_t step, int64_t count, int64_t after)
    void row_argmax(float* y, int32_t* at, int32_t first, const float* x, int64_t step, int64_t count, int64_t after)
    void row_add(float* y, const float* x, int64_t step, int64_t count, int64_t after)
    void row_spread(float* y, const float* x, int64_t step, int64_t count)
    void row_divide(float* y, const float* x, float scale, const float* counts, int64_t count)


cdef struct MaxPool:
    int64_t n, c, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w


cdef struct AvgPool:
    int64_t n, c, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, count_include_pad


cdef struct AdaptivePool:
    int64_t n, c, h, w, oh, ow


cdef struct Span:
    # Windows first..end of a row lie inside the plane with one column of their taps, ``offset`` from where they start.
    int64_t offset, first, end


cdef Span* spans(const int64_t* args, int64_t slot, int64_t thread, int64_t kernel, int64_t stride, int64_t pad,
                 int64_t dilation, int64_t width, int64_t count) noexcept nogil:
    # The span of each tap column, at the start of the workspace.
    cdef Span* s = <Span*> workspace(args, slot, thread)
    cdef int64_t k
    for k in range(kernel):
        s[k].offset = k * dilation - pad
        s[k].first = least(count, most(0, -floor_div(s[k].offset, stride)))
        s[k].end = most(s[k].first, least(count, floor_div(width - 1 - s[k].offset, stride) + 1))
    return s


cdef void max_pool2d(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const MaxPool* p = <const MaxPool*> &args[5]
    cdef int64_t size = p.n * p.c * p.h * p.w, task, i, j, kh, kw, row, at
    cdef Span* s = spans(args, 3, thread, p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
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
                    at = (task * p.h + row) * p.w + s[kw].first * p.stride_w + s[kw].offset
                    row_max(y + s[kw].first, array(args, 0) + at, p.stride_w, s[kw].end - s[kw].first, size - at)


cdef void max_pool2d_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # The first of equal maxima takes the gradient, the last NaN where there are any. Workspace: spans, the maxima of a
    # row, where they lie in the plane.
    cdef const MaxPool* p = <const MaxPool*> &args[6]
    cdef int64_t size = p.n * p.c * p.h * p.w, task, i, j, kh, kw, row, in_plane, first, count, plane
    cdef Span* s = spans(args, 4, thread, p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    cdef float* best = <float*> (s + p.kw)
    cdef int32_t* at = <int32_t*> (best + p.ow)
    cdef const float* dy
    cdef float* dx
    for task in range(begin, end):
        plane = task * p.h * p.w
        dx = array(args, 2) + plane
        memset(dx, 0, p.h * p.w * sizeof(float))
        for i in range(p.oh):
            dy = array(args, 0) + (task * p.oh + i) * p.ow
            for j in range(p.ow):
                best[j] = -INFINITY
                at[j] = -1
            for kh in range(p.kh):
                row = i * p.stride_h - p.pad_top + kh * p.dilation_h
                if row < 0 or row >= p.h:
                    continue
                for kw in range(p.kw):
                    first, count = s[kw].first, s[kw].end - s[kw].first
                    in_plane = row * p.w + first * p.stride_w + s[kw].offset
                    row_argmax(best + first, at + first, <int32_t> in_plane, array(args, 1) + plane + in_plane,
                               p.stride_w, count, size - plane - in_plane)
            for j in range(p.ow):
                if at[j] >= 0:
                    dx[at[j]] += dy[j]


cdef inline int64_t window_count(int64_t i, int64_t kernel, int64_t stride, int64_t before, int64_t after,
                                 int64_t extent, bint padded) noexcept nogil:
    # Positions of the i-th window of an axis that its average counts.
    cdef int64_t start = i * stride - before
    if padded:
        return least(start + kernel, extent + after) - start
    return least(start + kernel, extent) - most(start, 0)


cdef void column_counts(const AvgPool* p, float* counts) noexcept nogil:
    cdef int64_t j
    for j in range(p.ow):
        counts[j] = <float> window_count(j, p.kw, p.stride_w, p.pad_left, p.pad_right, p.w, p.count_include_pad != 0)


cdef inline float row_count(const AvgPool* p, int64_t i) noexcept nogil:
    return <float> window_count(i, p.kh, p.stride_h, p.pad_top, p.pad_bottom, p.h, p.count_include_pad != 0)


cdef void avg_pool2d(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # Workspace: spans, the columns that each window counts.
    cdef const AvgPool* p = <const AvgPool*> &args[5]
    cdef int64_t size = p.n * p.c * p.h * p.w, task, i, j, kw, row, first_row, at
    cdef Span* s = spans(args, 3, thread, p.kw, p.stride_w, p.pad_left, 1, p.w, p.ow)
    cdef float* counts = <float*> (s + p.kw)
    cdef float* y
    column_counts(p, counts)
    for task in range(begin, end):
        for i in range(p.oh):
            y = array(args, 1) + (task * p.oh + i) * p.ow
            for j in range(p.ow):
                y[j] = 0
            first_row = i * p.stride_h - p.pad_top
            for row in range(most(first_row, 0), least(first_row + p.kh, p.h)):
                for kw in range(p.kw):
                    at = (task * p.h + row) * p.w + s[kw].first * p.stride_w + s[kw].offset
                    row_add(y + s[kw].first, array(args, 0) + at, p.stride_w, s[kw].end - s[kw].first, size - at)
            row_divide(y, y, row_count(p, i), counts, p.ow)


cdef void avg_pool2d_grad(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # Workspace: spans, the columns that each window counts, a row of dy divided by its counts.
    cdef const AvgPool* p = <const AvgPool*> &args[5]
    cdef int64_t task, i, kw, row, first_row
    cdef Span* s = spans(args, 3, thread, p.kw, p.stride_w, p.pad_left, 1, p.w, p.ow)
    cdef float* counts = <float*> (s + p.kw)
    cdef float* part = counts + p.ow
    cdef float* dx
    column_counts(p, counts)
    for task in range(begin, end):
        dx = array(args, 1) + task * p.h * p.w
        memset(dx, 0, p.h * p.w * sizeof(float))
        for i in range(p.oh):
            row_divide(part, array(args, 0) + (task * p.oh + i) * p.ow, row_count(p, i), counts, p.ow)
            first_row = i * p.stride_h - p.pad_top
            for row in range(most(first_row, 0), least(first_row + p.kh, p.h)):
                for kw in range(p.kw):
                    row_spread(dx + row * p.w + s[kw].first * p.stride_w + s[kw].offset, part + s[kw].first,
                               p.stride_w, s[kw].end - s[kw].first)


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
