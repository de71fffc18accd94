# Sums and statistics of channels. What a task adds up in float32 is short; everything longer is added in float64, in
# an order that the problem alone decides.

cdef extern from "row_sums.h" nogil:
    double row_sum(const float* x, int64_t count)
    void row_moments(const float* x, int64_t count, float shift, double* sums)
    void row_products(const float* dy, const float* x, int64_t count, float shift, double* sums)


cdef struct Moments:
    # Count, mean and sum of squared distances from the mean.
    double count, mean, m2


cdef enum:
    BLOCK = 1024


cdef void moments_merge(Moments* a, const Moments* b) noexcept nogil:
    # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    cdef double delta = b.mean - a.mean, count = a.count + b.count
    a.mean += delta * (b.count / count)
    a.m2 += b.m2 + delta * delta * (a.count * b.count / count)
    a.count = count


cdef void moments_add(Moments* m, const float* x, int64_t count) noexcept nogil:
    # A block no longer than what m holds already is shifted by the mean so far, of which the squared distance is then
    # part of m2: no digits are lost that the result has.
    cdef Moments block
    cdef double sums[2]
    cdef float shift = <float> (m.mean if m.count >= count else row_sum(x, count) / count)
    sums[0] = sums[1] = 0
    row_moments(x, count, shift, sums)
    block.count = count
    block.mean = shift + sums[0] / count
    block.m2 = sums[1] - sums[0] * sums[0] / count
    if block.m2 < 0:
        block.m2 = 0
    if m.count == 0:
        m[0] = block
    else:
        moments_merge(m, &block)


cdef void batch_stats_chunk(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is one channel of one chunk of the batch. Small planes are gathered into blocks.
    cdef const BatchStatsChunksF32* a = <const BatchStatsChunksF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t chunks = a.extra.chunks, task, channel, chunk, image, last, filled, at
    cdef const float* plane
    cdef float gathered[BLOCK]
    cdef Moments* m
    for task in range(begin, end):
        channel, chunk = task // chunks, task % chunks
        m = <Moments*> a.memory.scratch + task
        m.count = m.mean = m.m2 = 0
        filled = 0
        last = share(p.n, chunks, chunk + 1)
        for image in range(share(p.n, chunks, chunk), last):
            plane = a.x + (image * p.c + channel) * p.s
            if 2 * p.s <= BLOCK:
                memcpy(gathered + filled, plane, p.s * sizeof(float))
                filled += p.s
                if filled + p.s > BLOCK or image + 1 == last:
                    moments_add(m, gathered, filled)
                    filled = 0
                continue
            at = 0
            while at < p.s:
                moments_add(m, plane + at, least(BLOCK, p.s - at))
                at += BLOCK


cdef void batch_stats_merge(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const BatchStatsChunksF32* a = <const BatchStatsChunksF32*> args
    cdef int64_t chunks = a.extra.chunks, channel, chunk
    cdef const Moments* parts
    cdef Moments m
    for channel in range(begin, end):
        parts = <const Moments*> a.memory.scratch + channel * chunks
        m = parts[0]
        for chunk in range(1, chunks):
            moments_merge(&m, &parts[chunk])
        a.mean[channel] = <float> m.mean
        a.var[channel] = <float> (m.m2 / m.count)


cdef void moments(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is one channel of one image.
    cdef const MomentsF32* a = <const MomentsF32*> args
    cdef int64_t pixels = a.channels.s, task, at
    cdef Moments m
    for task in range(begin, end):
        m.count = m.mean = m.m2 = 0
        at = 0
        while at < pixels:
            moments_add(&m, a.x + task * pixels + at, least(BLOCK, pixels - at))
            at += BLOCK
        a.mean[task] = <float> m.mean
        a.var[task] = <float> (m.m2 / m.count)


cdef void normalize_grad_sums(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # As moments: sums of dy (x - mean) and of dy.
    cdef const NormalizeGradSumsF32* a = <const NormalizeGradSumsF32*> args
    cdef int64_t pixels = a.channels.s, task, at
    cdef double sums[2]
    for task in range(begin, end):
        sums[0] = sums[1] = 0
        at = 0
        while at < pixels:
            row_products(a.dy + task * pixels + at, a.x + task * pixels + at, least(BLOCK, pixels - at), a.mean[task],
                         sums)
            at += BLOCK
        a.weighted[task] = <float> sums[0]
        a.plain[task] = <float> sums[1]


cdef void group_mean(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is one part of the batch.
    cdef const GroupMeanF32* a = <const GroupMeanF32*> args
    cdef const Groups* p = &a.groups
    cdef int64_t channels = p.groups * p.channels, task, group, first, image, c
    cdef double total
    cdef float mean
    for task in range(begin, end):
        for group in range(p.groups):
            first = task * p.images * channels + group * p.channels
            total = 0
            for image in range(p.images):
                for c in range(p.channels):
                    total += a.x[first + image * channels + c]
            mean = <float> (total / (p.images * p.channels))
            for image in range(p.images):
                for c in range(p.channels):
                    a.y[first + image * channels + c] = mean


cdef void batch_norm_grad_sums_chunk(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is one channel of one chunk of the batch: sums of dy (x - mean) and of dy.
    cdef const BatchNormGradSumsChunksF32* a = <const BatchNormGradSumsChunksF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t chunks = a.extra.chunks, task, channel, chunk, image, at, count, offset
    cdef double* sums
    for task in range(begin, end):
        channel, chunk = task // chunks, task % chunks
        sums = <double*> a.memory.scratch + 2 * task
        sums[0] = sums[1] = 0
        for image in range(share(p.n, chunks, chunk), share(p.n, chunks, chunk + 1)):
            at = 0
            while at < p.s:
                count = least(BLOCK, p.s - at)
                offset = (image * p.c + channel) * p.s + at
                row_products(a.dy + offset, a.x + offset, count, a.mean[channel], sums)
                at += count


cdef void batch_norm_grad_sums_merge(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const BatchNormGradSumsChunksF32* a = <const BatchNormGradSumsChunksF32*> args
    cdef int64_t chunks = a.extra.chunks, channel, chunk
    cdef double eps = a.normalization.eps, dweight, dbias
    cdef const double* sums
    for channel in range(begin, end):
        sums = <const double*> a.memory.scratch + 2 * channel * chunks
        dweight = dbias = 0
        for chunk in range(chunks):
            dweight += sums[2 * chunk]
            dbias += sums[2 * chunk + 1]
        a.dweight[channel] = <float> (dweight / sqrt(a.var[channel] + eps))
        a.dbias[channel] = <float> dbias


cdef enum:
    TOGETHER = 16


cdef void batch_stats_columns(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # Of a matrix (N, C): a task does TOGETHER neighbouring channels, first their means, then the squared distances.
    cdef const BatchStatsF32* a = <const BatchStatsF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t task, first, count, row, c
    cdef double mean[TOGETHER]
    cdef double squares[TOGETHER]
    cdef double distance
    cdef const float* x
    for task in range(begin, end):
        first = task * TOGETHER
        count = least(TOGETHER, p.c - first)
        for c in range(TOGETHER):
            mean[c] = squares[c] = 0
        for row in range(p.n):
            x = a.x + row * p.c + first
            for c in range(count):
                mean[c] += x[c]
        for c in range(count):
            mean[c] /= p.n
        for row in range(p.n):
            x = a.x + row * p.c + first
            for c in range(count):
                distance = x[c] - mean[c]
                squares[c] += distance * distance
        for c in range(count):
            a.mean[first + c] = <float> mean[c]
            a.var[first + c] = <float> (squares[c] / p.n)


cdef void batch_norm_grad_sums_columns(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # As batch_stats_columns: sums of dy (x - mean) and of dy.
    cdef const BatchNormGradSumsF32* a = <const BatchNormGradSumsF32*> args
    cdef const Channels* p = &a.channels
    cdef int64_t task, first, count, row, c
    cdef double eps = a.normalization.eps
    cdef double weighted[TOGETHER]
    cdef double plain[TOGETHER]
    cdef double mean[TOGETHER]
    cdef const float* dy
    cdef const float* x
    for task in range(begin, end):
        first = task * TOGETHER
        count = least(TOGETHER, p.c - first)
        for c in range(count):
            weighted[c] = plain[c] = 0
            mean[c] = a.mean[first + c]
        for row in range(p.n):
            dy = a.dy + row * p.c + first
            x = a.x + row * p.c + first
            for c in range(count):
                plain[c] += dy[c]
                weighted[c] += dy[c] * (x[c] - mean[c])
        for c in range(count):
            a.dweight[first + c] = <float> (weighted[c] / sqrt(a.var[first + c] + eps))
            a.dbias[first + c] = <float> plain[c]


cdef enum:
    COLUMNS = 64


cdef void reduce_sum(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes COLUMNS neighbouring results of the last axis.
    cdef const ReduceSumF32* a = <const ReduceSumF32*> args
    cdef const Reduction* p = &a.reduction
    cdef int64_t blocks = ceil_div(p.k1, COLUMNS), task, row, first, count, i, j, c
    cdef double total[COLUMNS]
    cdef const float* x
    for task in range(begin, end):
        row, first = task // blocks, task % blocks * COLUMNS
        count = least(COLUMNS, p.k1 - first)
        for c in range(count):
            total[c] = 0
        for i in range(p.r0):
            x = a.x + (i * p.k0 + row) * p.r1 * p.k1 + first
            if p.k1 == 1:
                total[0] += row_sum(x, p.r1)
                continue
            for j in range(p.r1):
                for c in range(count):
                    total[c] += x[c]
                x += p.k1
        for c in range(count):
            a.y[row * p.k1 + first + c] = <float> total[c]


cdef void sum_images(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes COLUMNS neighbouring elements.
    cdef const SumImagesF32* a = <const SumImagesF32*> args
    cdef int64_t size = a.channels.c * a.channels.s, task, first, count, image, i
    cdef double total[COLUMNS]
    cdef const float* x
    for task in range(begin, end):
        first = task * COLUMNS
        count = least(COLUMNS, size - first)
        for i in range(count):
            total[i] = 0
        for image in range(a.channels.n):
            x = a.x + image * size + first
            for i in range(count):
                total[i] += x[i]
        for i in range(count):
            a.y[first + i] = <float> total[i]
