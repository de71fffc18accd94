# Values of channels as chains over blocks of channels read them.

cdef void repeat_channels(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # x (M, C) -> y (M, ceil(C / V), R, V), zeros behind C; a task is one block of one row.
    cdef int64_t channels = args[6], times = args[7], blocks = ceil_div(channels, SIMD_WIDTH), task, first, count, r, l
    cdef const float* x
    cdef float* y
    for task in range(begin, end):
        first = task % blocks * SIMD_WIDTH
        count = least(SIMD_WIDTH, channels - first)
        x = array(args, 0) + task // blocks * channels + first
        y = array(args, 1) + task * times * SIMD_WIDTH
        for r in range(times):
            for l in range(SIMD_WIDTH):
                y[l] = x[l] if l < count else 0
            y += SIMD_WIDTH
