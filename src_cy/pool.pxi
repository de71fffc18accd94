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


cdef struct MaxPool:
    int64_t n, c, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w


cdef struct AvgPool:
    int64_t n, c, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, count_include_pad


cdef struct AdaptivePool:
    int64_t n, c, h, w, oh, ow


cdef void max_pool2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows of one plane; extra = parts of a plane.
    cdef const MaxPool* p = <const MaxPool*> &args[5]
    cdef int64_t parts = args[19], task, plane, blocks = channel_blocks(p.c)
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    for task in range(begin, end):
        plane = task // parts
        pool_max_rows(&h, &v, array(args, 0) + plane * p.h * p.w * SIMD_WIDTH,
                      array(args, 1) + plane * p.oh * p.ow * SIMD_WIDTH, share(p.oh, parts, task % parts),
                      share(p.oh, parts, task % parts + 1), p.c - plane % blocks * SIMD_WIDTH)


cdef void max_pool2d_grad_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const MaxPool* p = <const MaxPool*> &args[6]
    cdef int64_t task, size = p.h * p.w * SIMD_WIDTH
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, p.dilation_h, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, p.dilation_w, p.w, p.ow)
    for task in range(begin, end):
        pool_max_grad_plane(&h, &v, array(args, 0) + task * p.oh * p.ow * SIMD_WIDTH, array(args, 1) + task * size,
                            array(args, 2) + task * size)


cdef void avg_pool2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows of one plane; extra = parts of a plane.
    cdef const AvgPool* p = <const AvgPool*> &args[5]
    cdef int64_t parts = args[20], task, plane
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, 1, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, 1, p.w, p.ow)
    for task in range(begin, end):
        plane = task // parts
        pool_avg_rows(&h, &v, p.pad_bottom if p.count_include_pad else -1, p.pad_right if p.count_include_pad else -1,
                      array(args, 0) + plane * p.h * p.w * SIMD_WIDTH,
                      array(args, 1) + plane * p.oh * p.ow * SIMD_WIDTH, share(p.oh, parts, task % parts),
                      share(p.oh, parts, task % parts + 1))


cdef void avg_pool2d_grad_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const AvgPool* p = <const AvgPool*> &args[5]
    cdef int64_t task
    cdef window_axis h = window_forward_axis(p.kh, p.stride_h, p.pad_top, 1, p.h, p.oh)
    cdef window_axis v = window_forward_axis(p.kw, p.stride_w, p.pad_left, 1, p.w, p.ow)
    for task in range(begin, end):
        pool_avg_grad_plane(&h, &v, p.pad_bottom if p.count_include_pad else -1,
                            p.pad_right if p.count_include_pad else -1,
                            array(args, 0) + task * p.oh * p.ow * SIMD_WIDTH,
                            array(args, 1) + task * p.h * p.w * SIMD_WIDTH)


cdef void adaptive_avg_pool2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const AdaptivePool* p = <const AdaptivePool*> &args[5]
    cdef int64_t task
    for task in range(begin, end):
        pool_adaptive_plane(p.h, p.w, p.oh, p.ow, array(args, 0) + task * p.h * p.w * SIMD_WIDTH,
                            array(args, 1) + task * p.oh * p.ow * SIMD_WIDTH)


cdef void adaptive_avg_pool2d_grad_blocked(const int64_t* args, int64_t begin, int64_t end,
                                           int64_t thread) noexcept nogil:
    # A task makes one plane.
    cdef const AdaptivePool* p = <const AdaptivePool*> &args[5]
    cdef int64_t task
    for task in range(begin, end):
        pool_adaptive_grad_plane(p.h, p.w, p.oh, p.ow, array(args, 0) + task * p.oh * p.ow * SIMD_WIDTH,
                                 array(args, 1) + task * p.h * p.w * SIMD_WIDTH)
