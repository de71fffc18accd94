# Activations from rows of pixels to blocks of channels and back.

cdef enum:
    REORDER_PIXELS = 4096  # pixels of a task


cdef struct Block:
    # One task's part of a block of channels: where its planes and its pixels begin, channels and pixels.
    int64_t planes, pixels, channels, count


cdef Block reorder_block(const int64_t* numbers, int64_t task) noexcept nogil:
    # numbers = N, C, S.
    cdef int64_t blocks = ceil_div(numbers[1], SIMD_WIDTH), chunks = ceil_div(numbers[2], REORDER_PIXELS)
    cdef int64_t first = task % chunks * REORDER_PIXELS, block = task // chunks % blocks
    cdef int64_t image = task // (chunks * blocks), channel = block * SIMD_WIDTH
    cdef Block b
    b.planes = (image * numbers[1] + channel) * numbers[2] + first
    b.pixels = ((image * blocks + block) * numbers[2] + first) * SIMD_WIDTH
    b.channels = least(SIMD_WIDTH, numbers[1] - channel)
    b.count = least(REORDER_PIXELS, numbers[2] - first)
    return b


cdef void to_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # x (N, C, S) -> y (N, ceil(C / V), S, V), zeros behind C.
    cdef int64_t task
    cdef Block b
    for task in range(begin, end):
        b = reorder_block(&args[5], task)
        transpose(array(args, 1) + b.pixels, SIMD_WIDTH, SIMD_WIDTH, array(args, 0) + b.planes, args[7], b.channels,
                  b.count)


cdef void from_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # x (N, ceil(C / V), S, V) -> y (N, C, S).
    cdef int64_t task
    cdef Block b
    for task in range(begin, end):
        b = reorder_block(&args[5], task)
        transpose(array(args, 1) + b.planes, args[7], b.count, array(args, 0) + b.pixels, SIMD_WIDTH, b.count,
                  b.channels)
