# Pooling over activations in blocks of channels.

cdef extern from "pool.h" nogil:
    void pool_max_rows(const window_axis* h, const window_axis* v, const float* x, float* y, int64_t i_first,
                       int64_t i_end, int64_t channels)
    void pool_max_grad_plane(const window_axis* h, const window_axis* v, const float* dy, const float* x, float* dx)
    void pool_avg_rows(const window_axis* h, const window_axis* v, int64_t pad_bottom, int64_t pad_right,
                       const float* x, float* y, int64_t i_first, int64_t i_end)
    void pool_avg_grad_plane(const window_axis* h, const window_axis* v, int64_t pad_bottom, int64_t pad_right,
                             const float* dy, float* dx)
    void pool_adaptive_plane(int64_t height, int64_t width, int64_t out_height, int64_t out_width, const float* x,
                             float* y)
    void pool_adaptive_grad_plane(int64_t height, int64_t width, int64_t out_height, int64_t out_width,
                                  const float* dy, float* dx)


cdef void max_pool2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows of one plane.
    cdef const MaxPool2dPartsF32* a = <const MaxPool2dPartsF32*> args
    cdef const MaxPool* p = &a.max_pool
    cdef int64_t parts = a.extra.parts, task, plane, blocks = channel_blocks(p.c)
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    for task in range(begin, end):
        plane = task // parts
        pool_max_rows(&h, &v, a.x + plane * p.h * p.w * SIMD_WIDTH,
                      a.y + plane * p.oh * p.ow * SIMD_WIDTH, share(p.oh, parts, task % parts),
                      share(p.oh, parts, task % parts + 1), p.c - plane % blocks * SIMD_WIDTH)


cdef void max_pool2d_grad_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const MaxPool2dGradF32* a = <const MaxPool2dGradF32*> args
    cdef const MaxPool* p = &a.max_pool
    cdef int64_t task, size = p.h * p.w * SIMD_WIDTH
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    for task in range(begin, end):
        pool_max_grad_plane(&h, &v, a.dy + task * p.oh * p.ow * SIMD_WIDTH, a.x + task * size,
                            a.dx + task * size)


cdef void avg_pool2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows of one plane.
    cdef const AvgPool2dPartsF32* a = <const AvgPool2dPartsF32*> args
    cdef const AvgPool* p = &a.avg_pool
    cdef int64_t parts = a.extra.parts, task, plane
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, 1, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, 1, p.w, p.ow)
    for task in range(begin, end):
        plane = task // parts
        pool_avg_rows(&h, &v, p.pad_bottom if p.count_include_pad else -1, p.pad_right if p.count_include_pad else -1,
                      a.x + plane * p.h * p.w * SIMD_WIDTH,
                      a.y + plane * p.oh * p.ow * SIMD_WIDTH, share(p.oh, parts, task % parts),
                      share(p.oh, parts, task % parts + 1))


cdef void avg_pool2d_grad_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const AvgPool2dGradF32* a = <const AvgPool2dGradF32*> args
    cdef const AvgPool* p = &a.avg_pool
    cdef int64_t task
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, 1, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, 1, p.w, p.ow)
    for task in range(begin, end):
        pool_avg_grad_plane(&h, &v, p.pad_bottom if p.count_include_pad else -1,
                            p.pad_right if p.count_include_pad else -1,
                            a.dy + task * p.oh * p.ow * SIMD_WIDTH,
                            a.dx + task * p.h * p.w * SIMD_WIDTH)


cdef void adaptive_avg_pool2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const AdaptiveAvgPool2dF32* a = <const AdaptiveAvgPool2dF32*> args
    cdef const AdaptivePool* p = &a.adaptive_pool
    cdef int64_t task
    for task in range(begin, end):
        pool_adaptive_plane(p.h, p.w, p.oh, p.ow, a.x + task * p.h * p.w * SIMD_WIDTH,
                            a.y + task * p.oh * p.ow * SIMD_WIDTH)


cdef void adaptive_avg_pool2d_grad_blocked(const int64_t* args, int64_t begin, int64_t end,
                                           int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const AdaptiveAvgPool2dGradF32* a = <const AdaptiveAvgPool2dGradF32*> args
    cdef const AdaptivePool* p = &a.adaptive_pool
    cdef int64_t task
    for task in range(begin, end):
        pool_adaptive_grad_plane(p.h, p.w, p.oh, p.ow, a.dy + task * p.oh * p.ow * SIMD_WIDTH,
                                 a.dx + task * p.h * p.w * SIMD_WIDTH)
