# Sums and statistics of channels of activations in blocks. Stages: a task is one block of channels in one chunk of the
# batch, then the chunks of a block are put together in order.

cdef extern from "channel_moments.h" nogil:
    ctypedef struct lane_moments:
        double count
        double mean[16]
        double m2[16]
    ctypedef struct lane_totals:
        double sums[2][16]
    void lane_statistics(lane_moments* m, const float* x, int64_t pixels, int64_t image, int64_t first, int64_t end,
                         int64_t later)
    void lane_moments_merge(lane_moments* a, const lane_moments* b)
    void lane_sums(lane_totals* t, const float* x, const float* dy, const float* mean, int64_t channels, int64_t pixels,
                   int64_t image, int64_t first, int64_t end)


cdef inline lane_moments* chunk_moments(const BatchStatsPartialChunksF32* a, int64_t chunk) noexcept nogil:
    # What is known from a chunk, by block.
    cdef int64_t blocks = ceil_div(a.channels.c, SIMD_WIDTH)
    return <lane_moments*> (<char*> a.memory.scratch + chunk * whole_lines(blocks * <int64_t> sizeof(lane_moments)))


cdef void batch_stats_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const BatchStatsPartialChunksF32* a = <const BatchStatsPartialChunksF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t chunks = a.extra.chunks, later = a.extra.accumulate, plane = p.s * SIMD_WIDTH, task, block, chunk
    for task in range(begin, end):
        block, chunk = task // chunks, task % chunks
        lane_statistics(chunk_moments(a, chunk) + block, a.x + block * plane, p.s,
                        ceil_div(p.c, SIMD_WIDTH) * plane, share(p.n, chunks, chunk), share(p.n, chunks, chunk + 1),
                        later)


cdef void batch_stats_blocked_merge(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const BatchStatsPartialChunksF32* a = <const BatchStatsPartialChunksF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t chunks = a.extra.chunks, block, chunk, l
    cdef lane_moments m
    for block in range(begin, end):
        m = chunk_moments(a, 0)[block]
        for chunk in range(1, chunks):
            lane_moments_merge(&m, chunk_moments(a, chunk) + block)
        for l in range(least(SIMD_WIDTH, p.c - block * SIMD_WIDTH)):
            a.mean[block * SIMD_WIDTH + l] = <float> m.mean[l]
            a.var[block * SIMD_WIDTH + l] = <float> (m.m2[l] / m.count)


cdef void batch_norm_grad_sums_blocked(const int64_t* args, int64_t begin, int64_t end,
                                       int64_t thread) noexcept nogil:
    cdef const BatchNormGradSumsChunksF32* a = <const BatchNormGradSumsChunksF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t chunks = a.extra.chunks, plane = p.s * SIMD_WIDTH, image = ceil_div(p.c, SIMD_WIDTH) * plane
    cdef int64_t task, block
    for task in range(begin, end):
        block = task // chunks
        lane_sums(<lane_totals*> a.memory.scratch + task, a.x + block * plane, a.dy + block * plane,
                  a.mean + block * SIMD_WIDTH, p.c - block * SIMD_WIDTH, p.s, image,
                  share(p.n, chunks, task % chunks), share(p.n, chunks, task % chunks + 1))


cdef void batch_norm_grad_sums_blocked_merge(const int64_t* args, int64_t begin, int64_t end,
                                             int64_t thread) noexcept nogil:
    cdef const BatchNormGradSumsChunksF32* a = <const BatchNormGradSumsChunksF32*> args
    cdef const Channels* p = &a.channels
    cdef double eps = a.normalization.eps, dweight, dbias
    cdef int64_t chunks = a.extra.chunks, block, chunk, l, channel
    cdef const lane_totals* parts
    for block in range(begin, end):
        parts = <const lane_totals*> a.memory.scratch + block * chunks
        for l in range(least(SIMD_WIDTH, p.c - block * SIMD_WIDTH)):
            dweight = dbias = 0
            for chunk in range(chunks):
                dweight += parts[chunk].sums[0][l]
                dbias += parts[chunk].sums[1][l]
            channel = block * SIMD_WIDTH + l
            a.dweight[channel] = <float> (dweight / sqrt(a.var[channel] + eps))
            a.dbias[channel] = <float> dbias


cdef void channel_sums_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # reduce_sum over images and pixels.
    cdef const ReduceSumChannelSumsF32* a = <const ReduceSumChannelSumsF32*> args
    cdef const Channels* p = &a.extra.channels
    cdef int64_t chunks = a.extra.chunks, plane = p.s * SIMD_WIDTH, image = ceil_div(p.c, SIMD_WIDTH) * plane, task
    for task in range(begin, end):
        lane_sums(<lane_totals*> a.memory.scratch + task, a.x + task // chunks * plane, NULL, NULL, 0, p.s, image,
                  share(p.n, chunks, task % chunks), share(p.n, chunks, task % chunks + 1))


cdef void channel_sums_blocked_merge(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const ReduceSumChannelSumsF32* a = <const ReduceSumChannelSumsF32*> args
    cdef int64_t chunks = a.extra.chunks, channels = a.extra.channels.c, block, chunk, l
    cdef const lane_totals* parts
    cdef double total
    for block in range(begin, end):
        parts = <const lane_totals*> a.memory.scratch + block * chunks
        for l in range(least(SIMD_WIDTH, channels - block * SIMD_WIDTH)):
            total = 0
            for chunk in range(chunks):
                total += parts[chunk].sums[0][l]
            a.y[block * SIMD_WIDTH + l] = <float> total


cdef void moments_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is one block of channels of one image.
    cdef const MomentsF32* a = <const MomentsF32*> args
    cdef int64_t plane = a.channels.s * SIMD_WIDTH, task, l
    cdef lane_moments m
    for task in range(begin, end):
        lane_statistics(&m, a.x + task * plane, a.channels.s, plane, 0, 1, 0)
        for l in range(SIMD_WIDTH):
            a.mean[task * SIMD_WIDTH + l] = <float> m.mean[l]
            a.var[task * SIMD_WIDTH + l] = <float> (m.m2[l] / m.count)


cdef void normalize_grad_sums_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # As moments_blocked: sums of dy (x - mean) and of dy.
    cdef const NormalizeGradSumsF32* a = <const NormalizeGradSumsF32*> args
    cdef int64_t plane = a.channels.s * SIMD_WIDTH, task, l
    cdef lane_totals t
    for task in range(begin, end):
        lane_sums(&t, a.x + task * plane, a.dy + task * plane, a.mean + task * SIMD_WIDTH, SIMD_WIDTH, a.channels.s,
                  plane, 0, 1)
        for l in range(SIMD_WIDTH):
            a.weighted[task * SIMD_WIDTH + l] = <float> t.sums[0][l]
            a.plain[task * SIMD_WIDTH + l] = <float> t.sums[1][l]


cdef void image_sums_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # reduce_sum over the pixels of each image.
    cdef const ReduceSumImageSumsF32* a = <const ReduceSumImageSumsF32*> args
    cdef int64_t pixels = a.extra.channels.s, plane = pixels * SIMD_WIDTH, task, l
    cdef lane_totals t
    for task in range(begin, end):
        lane_sums(&t, a.x + task * plane, NULL, NULL, 0, pixels, plane, 0, 1)
        for l in range(SIMD_WIDTH):
            a.y[task * SIMD_WIDTH + l] = <float> t.sums[0][l]


cdef inline float* chunk_images(const SumImagesPartialChunksF32* a, int64_t chunk) noexcept nogil:
    # The sum of a chunk of images.
    cdef int64_t size = ceil_div(a.channels.c, SIMD_WIDTH) * a.channels.s * SIMD_WIDTH * <int64_t> sizeof(float)
    return <float*> (<char*> a.memory.scratch + chunk * whole_lines(size))


cdef void sum_images_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a chunk of the batch.
    cdef const SumImagesPartialChunksF32* a = <const SumImagesPartialChunksF32*> args
    cdef int64_t chunks = a.extra.chunks, size = ceil_div(a.channels.c, SIMD_WIDTH) * a.channels.s * SIMD_WIDTH
    cdef int64_t task, image, first, i
    cdef float* total
    cdef const float* x
    for task in range(begin, end):
        total = chunk_images(a, task)
        first = share(a.channels.n, chunks, task)
        if not a.extra.accumulate:
            memcpy(total, a.x + first * size, size * sizeof(float))
            first += 1
        for image in range(first, share(a.channels.n, chunks, task + 1)):
            x = a.x + image * size
            for i in range(size):
                total[i] += x[i]


cdef void sum_images_blocked_merge(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a block of channels.
    cdef const SumImagesPartialChunksF32* a = <const SumImagesPartialChunksF32*> args
    cdef int64_t chunks = a.extra.chunks, pixels = a.channels.s, block, pixel, at, chunk, l
    cdef double total[SIMD_WIDTH]
    cdef const float* x
    for block in range(begin, end):
        for pixel in range(pixels):
            at = (block * pixels + pixel) * SIMD_WIDTH
            for l in range(SIMD_WIDTH):
                total[l] = 0
            for chunk in range(chunks):
                x = chunk_images(a, chunk) + at
                for l in range(SIMD_WIDTH):
                    total[l] += x[l]
            for l in range(least(SIMD_WIDTH, a.channels.c - block * SIMD_WIDTH)):
                a.y[(block * SIMD_WIDTH + l) * pixels + pixel] = <float> total[l]
