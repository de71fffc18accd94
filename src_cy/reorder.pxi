# Activations from rows of pixels to blocks of channels and back.

cdef extern from "reorder.h" nogil:
    void planes_to_block(float* to, const float* planes, int64_t pitch, int64_t channels, int64_t count)
    void block_to_planes(float* planes, const float* block, int64_t pitch, int64_t channels, int64_t count)


cdef enum:
    REORDER_PIXELS = 4096  # pixels of a task, at most


cdef struct Block:
    # A task's part of a block of channels: which, where its planes and its pixels begin, channels and pixels.
    int64_t image, block, chunk, planes, pixels, channels, count


cdef struct Images:
    int64_t c, s, blocks, chunks


cdef inline Images reorder_images(const Channels* p) noexcept nogil:
    cdef Images i
    i.c, i.s = p.c, p.s
    i.blocks, i.chunks = ceil_div(i.c, SIMD_WIDTH), ceil_div(i.s, REORDER_PIXELS)
    return i


cdef inline void reorder_place(const Images* i, Block* b) noexcept nogil:
    cdef int64_t first = share(i.s, i.chunks, b.chunk) if b.chunk else 0, channel = b.block * SIMD_WIDTH
    b.planes = (b.image * i.c + channel) * i.s + first
    b.pixels = ((b.image * i.blocks + b.block) * i.s + first) * SIMD_WIDTH
    b.channels = least(SIMD_WIDTH, i.c - channel)
    b.count = (share(i.s, i.chunks, b.chunk + 1) if b.chunk + 1 < i.chunks else i.s) - first


cdef inline Block reorder_start(const Images* i, int64_t task) noexcept nogil:
    cdef Block b
    b.chunk, b.block, b.image = task % i.chunks, task // i.chunks % i.blocks, task // (i.chunks * i.blocks)
    reorder_place(i, &b)
    return b


cdef inline void reorder_next(const Images* i, Block* b) noexcept nogil:
    b.chunk += 1
    if b.chunk == i.chunks:
        b.chunk = 0
        b.block += 1
    if b.block == i.blocks:
        b.block = 0
        b.image += 1
    reorder_place(i, b)


cdef void to_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # x (N, C, S) -> y (N, ceil(C / V), S, V), zeros behind C.
    cdef const ToBlockedF32* a = <const ToBlockedF32*> args
    cdef Images i = reorder_images(&a.channels)
    cdef Block b = reorder_start(&i, begin)
    cdef int64_t task
    for task in range(begin, end):
        planes_to_block(a.y + b.pixels, a.x + b.planes, i.s, b.channels, b.count)
        reorder_next(&i, &b)


cdef void from_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # x (N, ceil(C / V), S, V) -> y (N, C, S).
    cdef const FromBlockedF32* a = <const FromBlockedF32*> args
    cdef Images i = reorder_images(&a.channels)
    cdef Block b = reorder_start(&i, begin)
    cdef int64_t task
    for task in range(begin, end):
        block_to_planes(a.y + b.planes, a.x + b.pixels, i.s, b.channels, b.count)
        reorder_next(&i, &b)
