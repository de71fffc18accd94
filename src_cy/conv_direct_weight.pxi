# The weight gradient as a sum of outer products over pixels: dw[oc, c, tap] = sum of dy[oc, pixel] x[c, its pixel].
#
# dy lies in blocks of SIMD_WIDTH channels. x lies in blocks of ``lanes`` channels: SIMD_WIDTH, or 1 for plain images. A
# row of the outer product is one input channel under one tap, its columns are the blocks of a tile of dy. The pixels
# pass in bands that stay in the L1 cache; where there is padding, a band of x is copied with its borders.
#
# Where windows are pixels, x and dy may change places: the columns are then input channels, the rows output channels.

cdef extern from "outer_product.h" nogil:
    const int OUTER_BLOCKS
    int64_t OUTER_ROWS(int64_t blocks)
    ctypedef struct outer_row:
        int64_t start, to
    ctypedef struct outer_walk:
        int64_t count[3]
        int64_t left[3]
        int64_t right[3]
    ctypedef struct outer_next:
        int64_t left, right
    outer_walk outer_longest_inside(outer_walk walk)
    void outer_line(float* to, int64_t before, const float* values, int64_t count, int64_t after)
    void outer_merge(float* total, const float* part, int64_t count, int64_t parts, int64_t pitch)
    void outer_sums(int64_t rows, int64_t blocks, const outer_row* row, const outer_walk* walk, outer_next next,
                    const float* left, const float* right, int64_t right_block, float* out, int64_t out_block,
                    int64_t accumulate)

cdef enum:
    MERGED_ROWS = 64


cdef struct Band:
    int64_t image, images, row, rows, col, cols


cdef struct Steps:
    # Within a band of x, in floats.
    int64_t image, block, row, col


cdef struct WeightTask:
    # What a task sums over: tiles and input channels of a set, and the bands of a chunk. ``base`` is the first input
    # channel of which the tiles have sums.
    int64_t group_set, tile, end_tile, base, channel, end_channel, chunk, band, end_band


cdef struct WeightPass:
    # The channels of a band that pass together, and where they lie: x, and the first tile of dy.
    Band band
    int64_t index, channel, end_channel
    const float* x
    const float* dy


cdef Convolution weight_problem(const Conv2dWeightGradWeightSplitF32* a) noexcept nogil:
    # The convolution, whose channels change places where x and dy do.
    cdef Convolution p = a.convolution
    if a.extra.swapped:
        p.c, p.oc = p.oc, p.c
    return p


cdef Band weight_band(const Convolution* p, const WeightSplit* w, int64_t index) noexcept nogil:
    cdef Band band
    cdef int64_t col = index % w.col_bands, row = index // w.col_bands % w.row_bands
    cdef int64_t image = index // (w.col_bands * w.row_bands)
    band.col, band.row = share(p.ow, w.col_bands, col), share(p.oh, w.row_bands, row)
    band.image = share(p.n, w.image_bands, image)
    band.cols = share(p.ow, w.col_bands, col + 1) - band.col
    band.rows = share(p.oh, w.row_bands, row + 1) - band.row
    band.images = share(p.n, w.image_bands, image + 1) - band.image
    return band


cdef Steps weight_steps(const Convolution* p, const WeightSplit* w) noexcept nogil:
    # The steps within x where bands are read in place, else within the copy of the largest band.
    cdef Steps s
    s.col, s.row = w.lanes, p.w * w.lanes
    s.block = p.h * s.row
    s.image = ceil_div(p.c, w.lanes) * s.block
    if w.copied:
        s.row = ((ceil_div(p.ow, w.col_bands) - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1) * w.lanes
        s.block = ((ceil_div(p.oh, w.row_bands) - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1) * s.row
        s.image = w.together // w.lanes * s.block
    return s


cdef void weight_copy(const Convolution* p, const WeightSplit* w, const Band* band, const Steps* s, int64_t block,
                      int64_t blocks, const float* x, float* to) noexcept nogil:
    # The given blocks of the band, zeros where it reaches beyond the image.
    cdef int64_t width = (band.cols - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1
    cdef int64_t height = (band.rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    cdef int64_t top = band.row * p.stride_h - p.pad_top, left = band.col * p.stride_w - p.pad_left
    cdef int64_t first = most(0, least(width, -left)), end = most(first, least(width, p.w - left))
    cdef int64_t image, b, line, x_blocks = ceil_div(p.c, w.lanes)
    cdef const float* plane
    cdef float* row
    for image in range(band.images):
        for b in range(blocks):
            plane = x + ((band.image + image) * x_blocks + block + b) * p.h * p.w * w.lanes
            for line in range(height):
                row = to + image * s.image + b * s.block + line * s.row
                if top + line < 0 or top + line >= p.h:
                    outer_line(row, width * w.lanes, plane, 0, 0)
                else:
                    outer_line(row, first * w.lanes, plane + ((top + line) * p.w + left + first) * w.lanes,
                               (end - first) * w.lanes, (width - end) * w.lanes)


cdef void weight_rows(const Convolution* p, const WeightSplit* w, const Steps* s, int64_t first, int64_t end,
                      outer_row* rows) noexcept nogil:
    # The rows of the input channels first..end, which pass together; sums go to [channel][tap][SIMD_WIDTH].
    cdef int64_t i, j, c, count = 0
    for i in range(p.kh):
        for j in range(p.kw):
            for c in range(first, end):
                rows[count].start = ((c // w.lanes - first // w.lanes) * s.block + i * p.dilation_h * s.row
                                     + j * p.dilation_w * s.col + c % w.lanes)
                rows[count].to = ((c * p.kh + i) * p.kw + j) * SIMD_WIDTH
                count += 1


cdef int64_t weight_first_channel(const Convolution* p, const WeightSplit* w, int64_t block,
                                  int64_t group_set) noexcept nogil:
    # The first input channel that a tile starting with the given block of a set has sums of.
    if w.sets == p.groups:
        return group_set * (p.c // p.groups)
    return block * SIMD_WIDTH // (p.oc // p.groups) * (p.c // p.groups)


cdef int64_t weight_end_channel(const Convolution* p, const WeightSplit* w, int64_t end_block,
                                int64_t group_set) noexcept nogil:
    if w.sets == p.groups:
        return (group_set + 1) * (p.c // p.groups)
    return ((least(p.oc, end_block * SIMD_WIDTH) - 1) // (p.oc // p.groups) + 1) * (p.c // p.groups)


cdef int64_t weight_chunk_size(const Convolution* p, const WeightSplit* w) noexcept nogil:
    # Floats of the sums of a chunk, [set][block][channel][tap][SIMD_WIDTH].
    cdef int64_t sums = w.sets * ceil_div(p.oc // w.sets, SIMD_WIDTH) * w.depth * p.kh * p.kw * SIMD_WIDTH
    return whole_lines(sums * <int64_t> sizeof(float)) // <int64_t> sizeof(float)


cdef int64_t weight_part_channels(const Convolution* p, const WeightSplit* w) noexcept nogil:
    # Input channels of a task, at most.
    return ceil_div(ceil_div(w.depth, w.lanes), w.channel_parts) * w.lanes


cdef WeightTask weight_task(const Convolution* p, const WeightSplit* w, int64_t index) noexcept nogil:
    # The parts of the channels vary fastest, then those of the tiles, the sets, the chunks.
    cdef WeightTask t
    cdef int64_t blocks = ceil_div(p.oc // w.sets, SIMD_WIDTH), rest = index // w.channel_parts
    cdef int64_t part = index % w.channel_parts, end, units
    cdef int64_t bands = w.image_bands * w.row_bands * w.col_bands
    t.tile = share(w.tiles, w.tile_parts, rest % w.tile_parts)
    t.end_tile = share(w.tiles, w.tile_parts, rest % w.tile_parts + 1)
    t.group_set = rest // w.tile_parts % w.sets
    t.base = weight_first_channel(p, w, share(blocks, w.tiles, t.tile), t.group_set)
    end = weight_end_channel(p, w, share(blocks, w.tiles, t.end_tile), t.group_set)
    units = ceil_div(end - t.base, w.lanes)
    t.channel = t.base + share(units, w.channel_parts, part) * w.lanes
    t.end_channel = least(end, t.base + share(units, w.channel_parts, part + 1) * w.lanes)
    t.chunk = rest // (w.tile_parts * w.sets)
    t.band, t.end_band = share(bands, w.chunks, t.chunk), share(bands, w.chunks, t.chunk + 1)
    return t


cdef WeightPass weight_pass(const Convolution* p, const WeightSplit* w, const WeightTask* t, int64_t index, int64_t
                            channel, const float* x, const float* dy) noexcept nogil:
    cdef WeightPass now
    cdef int64_t blocks = ceil_div(p.oc // w.sets, SIMD_WIDTH), block = share(blocks, w.tiles, t.tile)
    cdef int64_t plane
    now.band, now.index, now.channel = weight_band(p, w, index), index, channel
    now.end_channel = least(t.end_channel, (channel // w.together + 1) * w.together)
    plane = now.band.image * ceil_div(p.c, w.lanes) + channel // w.lanes
    now.x = x
    if not w.copied:
        now.x += ((plane * p.h + now.band.row * p.stride_h) * p.w + now.band.col * p.stride_w) * w.lanes
    plane = (now.band.image * w.sets + t.group_set) * blocks + block
    now.dy = dy + ((plane * p.oh + now.band.row) * p.ow + now.band.col) * SIMD_WIDTH
    return now


cdef inline int64_t distance(const float* a, const float* b) noexcept nogil:
    return (<int64_t> b - <int64_t> a) // <int64_t> sizeof(float)


cdef void weight_tiles(const Convolution* p, const WeightSplit* w, const WeightTask* t, const WeightPass* now, const
                       WeightPass* after, const Steps* s, const outer_walk* walk, const outer_row* rows, const float* x,
                       float* sums) noexcept nogil:
    # One pass for all the tiles of a task. What a later tile or the pass after this one (``after``, NULL for none) reads
    # first is fetched on the way, a block of channels with each of the first calls.
    cdef int64_t set_blocks = ceil_div(p.oc // w.sets, SIMD_WIDTH), taps = p.kh * p.kw, tile, part, parts, row
    cdef int64_t count = (now.end_channel - now.channel) * taps, blocks, later_blocks, wanted
    cdef int64_t dy_block = p.oh * p.ow * SIMD_WIDTH, sums_block = w.depth * taps * SIMD_WIDTH
    cdef int64_t first_blocks = share(set_blocks, w.tiles, t.tile + 1) - share(set_blocks, w.tiles, t.tile)
    cdef const float* dy = now.dy
    cdef int64_t pixels = walk.count[0] * walk.count[1] * walk.count[2]
    cdef const float* later
    cdef outer_next next
    for tile in range(t.tile, t.end_tile):
        blocks = share(set_blocks, w.tiles, tile + 1) - share(set_blocks, w.tiles, tile)
        later, later_blocks = dy + blocks * dy_block, 0
        if tile + 1 < t.end_tile:
            if now.channel == t.channel:
                later_blocks = share(set_blocks, w.tiles, tile + 2) - share(set_blocks, w.tiles, tile + 1)
        elif after != NULL and after.index != now.index:
            later, later_blocks = after.dy, first_blocks
        wanted = 0
        if tile == t.tile and after != NULL and not w.copied:
            wanted = ceil_div(after.end_channel, w.lanes) - after.channel // w.lanes
        parts = least(count, most(later_blocks, ceil_div(count, OUTER_ROWS(blocks))))
        for part in range(parts):
            next.left = distance(x, after.x + part * s.block) if part < wanted else 0
            next.right = distance(dy, later + part * dy_block) if part < later_blocks else 0
            row = share(count, parts, part)
            prefetch_step(w.prefetcher, (share(count, parts, part + 1) - row) * blocks * pixels)
            outer_sums(share(count, parts, part + 1) - row, blocks, rows + row, walk, next, x, dy, dy_block,
                       sums, sums_block, w.accumulate or now.index > t.band)
        dy += blocks * dy_block
        sums += blocks * sums_block


cdef void conv2d_weight_grad_direct(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a chunk of the bands for a part of the tiles and of the input channels of a set.
    cdef const Conv2dWeightGradWeightSplitF32* a = <const Conv2dWeightGradWeightSplitF32*> args
    cdef const WeightSplit* w = &a.extra
    cdef Convolution convolution = weight_problem(a)
    cdef const Convolution* p = &convolution
    cdef const float* dy = a.x if w.swapped else a.dy
    cdef const float* x = a.dy if w.swapped else a.x
    cdef int64_t taps = p.kh * p.kw, set_blocks = ceil_div(p.oc // w.sets, SIMD_WIDTH), index, c, block
    cdef int64_t dy_image = w.sets * set_blocks * p.oh * p.ow * SIMD_WIDTH
    cdef outer_row* rows = <outer_row*> workspace_of(&a.memory, thread)
    cdef float* copy = <float*> (rows + weight_part_channels(p, w) * taps)
    cdef float* sums
    cdef Steps s = weight_steps(p, w)
    cdef WeightTask t
    cdef WeightPass now, after
    cdef outer_walk walk
    cdef bint more
    for index in range(begin, end):
        t = weight_task(p, w, index)
        block = t.group_set * set_blocks + share(set_blocks, w.tiles, t.tile)
        sums = a.memory.scratch + t.chunk * weight_chunk_size(p, w) + (block * w.depth - t.base) * taps * SIMD_WIDTH
        now = weight_pass(p, w, &t, t.band, t.channel, x, dy)
        more = True
        while more:
            c = (now.channel - t.channel) * taps
            if now.index == t.band:
                weight_rows(p, w, &s, now.channel, now.end_channel, rows + c)
            after = weight_pass(p, w, &t, now.index, now.end_channel, x, dy)
            if now.end_channel == t.end_channel:
                more = now.index + 1 < t.end_band
                after = weight_pass(p, w, &t, now.index + more, t.channel, x, dy)
            walk.count[0], walk.count[1], walk.count[2] = now.band.images, now.band.rows, now.band.cols
            walk.left[0], walk.left[1], walk.left[2] = s.image, p.stride_h * s.row, p.stride_w * s.col
            walk.right[0], walk.right[1], walk.right[2] = dy_image, p.ow * SIMD_WIDTH, SIMD_WIDTH
            walk = outer_longest_inside(walk)
            if w.copied:
                block = now.channel // w.lanes
                weight_copy(p, w, &now.band, &s, block, ceil_div(now.end_channel, w.lanes) - block, x, copy)
            weight_tiles(p, w, &t, &now, &after if more else NULL, &s, &walk, rows + c,
                         copy if w.copied else <float*> now.x, sums)
            now = after


cdef void conv2d_weight_grad_merge_direct(const int64_t* args, int64_t begin, int64_t end,
                                          int64_t thread) noexcept nogil:
    # A task adds up the chunks for MERGED_ROWS rows and one block of columns.
    cdef const Conv2dWeightGradWeightSplitF32* a = <const Conv2dWeightGradWeightSplitF32*> args
    cdef const WeightSplit* w = &a.extra
    cdef Convolution convolution = weight_problem(a)
    cdef const Convolution* p = &convolution
    cdef int64_t taps = p.kh * p.kw, group_out = p.oc // p.groups, group_depth = p.c // p.groups * taps
    cdef int64_t set_out = p.oc // w.sets, set_blocks = ceil_div(set_out, SIMD_WIDTH), depth = w.depth * taps
    cdef int64_t slices = ceil_div(depth, MERGED_ROWS)
    cdef int64_t task, slice_, block, group_set, tile, row, rows, count, base, group, lane, oc, i, shift
    cdef float* total = workspace_of(&a.memory, thread)
    cdef const float* partial
    for task in range(begin, end):
        slice_, block, group_set = task % slices, task // slices % set_blocks, task // (slices * set_blocks)
        tile = ((block + 1) * w.tiles - 1) // set_blocks
        base = weight_first_channel(p, w, share(set_blocks, w.tiles, tile), group_set) * taps
        rows = weight_end_channel(p, w, share(set_blocks, w.tiles, tile + 1), group_set) * taps - base
        row = slice_ * MERGED_ROWS
        rows = least(MERGED_ROWS, rows - row)
        if rows <= 0:
            continue
        partial = a.memory.scratch + ((group_set * set_blocks + block) * depth + row) * SIMD_WIDTH
        outer_merge(total, partial, rows * SIMD_WIDTH, w.chunks, weight_chunk_size(p, w))
        count = least(SIMD_WIDTH, set_out - block * SIMD_WIDTH)
        oc = group_set * set_out + block * SIMD_WIDTH
        if w.swapped:
            for i in range(rows):
                memcpy(a.dw + (row + i) * p.oc + oc, total + i * SIMD_WIDTH, count * sizeof(float))
            continue
        if w.sets == p.groups:
            transpose(a.dw + oc * group_depth + row, group_depth, rows, total, SIMD_WIDTH, rows, count)
            continue
        for lane in range(count):
            group = (oc + lane) // group_out
            shift = base + row - group * group_depth
            for i in range(most(0, -shift), least(rows, group_depth - shift)):
                a.dw[(oc + lane) * group_depth + shift + i] = total[i * SIMD_WIDTH + lane]
