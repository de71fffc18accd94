# Values of channels as chains over blocks of channels read them.

cdef void repeat_channels(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # x (M, C) -> y (M, ceil(C / V), R, V), zeros behind C; a task is one block of one row.
    cdef const RepeatChannelsF32* a = <const RepeatChannelsF32*> args
    cdef int64_t channels = a.repeat.c, times = a.repeat.r, blocks = ceil_div(channels, SIMD_WIDTH)
    cdef int64_t task, first, count, r, l
    cdef const float* x
    cdef float* y
    for task in range(begin, end):
        first = task % blocks * SIMD_WIDTH
        count = least(SIMD_WIDTH, channels - first)
        x = a.x + task // blocks * channels + first
        y = a.y + task * times * SIMD_WIDTH
        for r in range(times):
            for l in range(SIMD_WIDTH):
                y[l] = x[l] if l < count else 0
            y += SIMD_WIDTH
