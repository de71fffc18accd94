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


cdef struct WeightSums:
    # The parameters of a convolution's signature, in their order, and how the sums are split.
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
    # Groups whose output channels are whole blocks are ``sets`` of their own; else there is one set. Its blocks of
    # output channels are split into nearly equal ``tiles``, those into ``tile_parts`` and, where a set is one group,
    # its input channels into ``channel_parts``.
    int64_t lanes, sets, tiles, tile_parts, channel_parts
    # The pixels are split into image_bands * row_bands * col_bands; ``together`` input channels pass at a time.
    int64_t image_bands, row_bands, col_bands, together, copied
    # Input channels of which a tile has sums, at most.
    int64_t depth
    # Whether x and dy change places; the channels of both do in ``weight_sums``.
    int64_t swapped
    # Whether the kernels of several taps ask for the memory of the next band.
    int64_t ahead
    # The bands are split into ``chunks``; the sums are added to what is there if they come ``later``.
    int64_t chunks, later


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


cdef WeightSums weight_sums(const int64_t* args) noexcept nogil:
    cdef WeightSums p = (<const WeightSums*> &args[6])[0]
    if p.swapped:
        p.c, p.oc = p.oc, p.c
    return p


cdef Band weight_band(const WeightSums* p, int64_t index) noexcept nogil:
    cdef Band band
    cdef int64_t col = index % p.col_bands, row = index // p.col_bands % p.row_bands
    cdef int64_t image = index // (p.col_bands * p.row_bands)
    band.col, band.row = share(p.ow, p.col_bands, col), share(p.oh, p.row_bands, row)
    band.image = share(p.n, p.image_bands, image)
    band.cols = share(p.ow, p.col_bands, col + 1) - band.col
    band.rows = share(p.oh, p.row_bands, row + 1) - band.row
    band.images = share(p.n, p.image_bands, image + 1) - band.image
    return band


cdef Steps weight_steps(const WeightSums* p) noexcept nogil:
    # The steps within x where bands are read in place, else within the copy of the largest band.
    cdef Steps s
    s.col, s.row = p.lanes, p.w * p.lanes
    s.block = p.h * s.row
    s.image = ceil_div(p.c, p.lanes) * s.block
    if p.copied:
        s.row = ((ceil_div(p.ow, p.col_bands) - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1) * p.lanes
        s.block = ((ceil_div(p.oh, p.row_bands) - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1) * s.row
        s.image = p.together // p.lanes * s.block
    return s


cdef void weight_copy(const WeightSums* p, const Band* band, const Steps* s, int64_t block, int64_t blocks,
                      const float* x, float* to) noexcept nogil:
    # The given blocks of the band, zeros where it reaches beyond the image.
    cdef int64_t width = (band.cols - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1
    cdef int64_t height = (band.rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    cdef int64_t top = band.row * p.stride_h - p.pad_top, left = band.col * p.stride_w - p.pad_left
    cdef int64_t first = most(0, least(width, -left)), end = most(first, least(width, p.w - left))
    cdef int64_t image, b, line, x_blocks = ceil_div(p.c, p.lanes)
    cdef const float* plane
    cdef float* row
    for image in range(band.images):
        for b in range(blocks):
            plane = x + ((band.image + image) * x_blocks + block + b) * p.h * p.w * p.lanes
            for line in range(height):
                row = to + image * s.image + b * s.block + line * s.row
                if top + line < 0 or top + line >= p.h:
                    outer_line(row, width * p.lanes, plane, 0, 0)
                else:
                    outer_line(row, first * p.lanes, plane + ((top + line) * p.w + left + first) * p.lanes,
                               (end - first) * p.lanes, (width - end) * p.lanes)


cdef void weight_rows(const WeightSums* p, const Steps* s, int64_t first, int64_t end,
                      outer_row* rows) noexcept nogil:
    # The rows of the input channels first..end, which pass together; sums go to [channel][tap][SIMD_WIDTH].
    cdef int64_t i, j, c, count = 0
    for i in range(p.kh):
        for j in range(p.kw):
            for c in range(first, end):
                rows[count].start = ((c // p.lanes - first // p.lanes) * s.block + i * p.dilation_h * s.row
                                     + j * p.dilation_w * s.col + c % p.lanes)
                rows[count].to = ((c * p.kh + i) * p.kw + j) * SIMD_WIDTH
                count += 1


cdef int64_t weight_first_channel(const WeightSums* p, int64_t block, int64_t group_set) noexcept nogil:
    # The first input channel that a tile starting with the given block of a set has sums of.
    if p.sets == p.groups:
        return group_set * (p.c // p.groups)
    return block * SIMD_WIDTH // (p.oc // p.groups) * (p.c // p.groups)


cdef int64_t weight_end_channel(const WeightSums* p, int64_t end_block, int64_t group_set) noexcept nogil:
    if p.sets == p.groups:
        return (group_set + 1) * (p.c // p.groups)
    return ((least(p.oc, end_block * SIMD_WIDTH) - 1) // (p.oc // p.groups) + 1) * (p.c // p.groups)


cdef int64_t weight_chunk_size(const WeightSums* p) noexcept nogil:
    # Floats of the sums of a chunk, [set][block][channel][tap][SIMD_WIDTH].
    cdef int64_t sums = p.sets * ceil_div(p.oc // p.sets, SIMD_WIDTH) * p.depth * p.kh * p.kw * SIMD_WIDTH
    return whole_lines(sums * <int64_t> sizeof(float)) // <int64_t> sizeof(float)


cdef int64_t weight_part_channels(const WeightSums* p) noexcept nogil:
    # Input channels of a task, at most.
    return ceil_div(ceil_div(p.depth, p.lanes), p.channel_parts) * p.lanes


cdef WeightTask weight_task(const WeightSums* p, int64_t index) noexcept nogil:
    # The parts of the channels vary fastest, then those of the tiles, the sets, the chunks.
    cdef WeightTask t
    cdef int64_t blocks = ceil_div(p.oc // p.sets, SIMD_WIDTH), rest = index // p.channel_parts
    cdef int64_t part = index % p.channel_parts, end, units
    cdef int64_t bands = p.image_bands * p.row_bands * p.col_bands
    t.tile = share(p.tiles, p.tile_parts, rest % p.tile_parts)
    t.end_tile = share(p.tiles, p.tile_parts, rest % p.tile_parts + 1)
    t.group_set = rest // p.tile_parts % p.sets
    t.base = weight_first_channel(p, share(blocks, p.tiles, t.tile), t.group_set)
    end = weight_end_channel(p, share(blocks, p.tiles, t.end_tile), t.group_set)
    units = ceil_div(end - t.base, p.lanes)
    t.channel = t.base + share(units, p.channel_parts, part) * p.lanes
    t.end_channel = least(end, t.base + share(units, p.channel_parts, part + 1) * p.lanes)
    t.chunk = rest // (p.tile_parts * p.sets)
    t.band, t.end_band = share(bands, p.chunks, t.chunk), share(bands, p.chunks, t.chunk + 1)
    return t


cdef WeightPass weight_pass(const WeightSums* p, const WeightTask* t, int64_t index, int64_t channel, const float* x,
                            const float* dy) noexcept nogil:
    cdef WeightPass now
    cdef int64_t blocks = ceil_div(p.oc // p.sets, SIMD_WIDTH), block = share(blocks, p.tiles, t.tile)
    cdef int64_t plane
    now.band, now.index, now.channel = weight_band(p, index), index, channel
    now.end_channel = least(t.end_channel, (channel // p.together + 1) * p.together)
    plane = now.band.image * ceil_div(p.c, p.lanes) + channel // p.lanes
    now.x = x
    if not p.copied:
        now.x += ((plane * p.h + now.band.row * p.stride_h) * p.w + now.band.col * p.stride_w) * p.lanes
    plane = (now.band.image * p.sets + t.group_set) * blocks + block
    now.dy = dy + ((plane * p.oh + now.band.row) * p.ow + now.band.col) * SIMD_WIDTH
    return now


cdef inline int64_t distance(const float* a, const float* b) noexcept nogil:
    return (<int64_t> b - <int64_t> a) // <int64_t> sizeof(float)


cdef void weight_tiles(const WeightSums* p, const WeightTask* t, const WeightPass* now, const WeightPass* after,
                       const Steps* s, const outer_walk* walk, const outer_row* rows, const float* x,
                       float* sums) noexcept nogil:
    # One pass for all the tiles of a task. What a later tile or the pass after this one (``after``, NULL for none) reads
    # first is fetched on the way, a block of channels with each of the first calls.
    cdef int64_t set_blocks = ceil_div(p.oc // p.sets, SIMD_WIDTH), taps = p.kh * p.kw, tile, part, parts, row
    cdef int64_t count = (now.end_channel - now.channel) * taps, blocks, later_blocks, wanted
    cdef int64_t dy_block = p.oh * p.ow * SIMD_WIDTH, sums_block = p.depth * taps * SIMD_WIDTH
    cdef int64_t first_blocks = share(set_blocks, p.tiles, t.tile + 1) - share(set_blocks, p.tiles, t.tile)
    cdef const float* dy = now.dy
    cdef int64_t pixels = walk.count[0] * walk.count[1] * walk.count[2]
    cdef const float* later
    cdef outer_next next
    cdef prefetcher* asked = this_thread()
    for tile in range(t.tile, t.end_tile):
        blocks = share(set_blocks, p.tiles, tile + 1) - share(set_blocks, p.tiles, tile)
        later, later_blocks = dy + blocks * dy_block, 0
        if tile + 1 < t.end_tile:
            if now.channel == t.channel:
                later_blocks = share(set_blocks, p.tiles, tile + 2) - share(set_blocks, p.tiles, tile + 1)
        elif after != NULL and after.index != now.index:
            later, later_blocks = after.dy, first_blocks
        wanted = 0
        if tile == t.tile and after != NULL and not p.copied:
            wanted = ceil_div(after.end_channel, p.lanes) - after.channel // p.lanes
        parts = least(count, most(later_blocks, ceil_div(count, OUTER_ROWS(blocks))))
        for part in range(parts):
            next.left = distance(x, after.x + part * s.block) if part < wanted else 0
            next.right = distance(dy, later + part * dy_block) if part < later_blocks else 0
            row = share(count, parts, part)
            prefetch_step(asked, (share(count, parts, part + 1) - row) * blocks * pixels)
            outer_sums(share(count, parts, part + 1) - row, blocks, rows + row, walk, next, x, dy, dy_block,
                       sums, sums_block, p.later or now.index > t.band)
        dy += blocks * dy_block
        sums += blocks * sums_block


cdef void conv2d_weight_grad_direct(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a chunk of the bands for a part of the tiles and of the input channels of a set.
    cdef WeightSums sizes = weight_sums(args)
    cdef const WeightSums* p = &sizes
    cdef const float* dy = array(args, 1 if p.swapped else 0)
    cdef const float* x = array(args, 0 if p.swapped else 1)
    cdef int64_t taps = p.kh * p.kw, set_blocks = ceil_div(p.oc // p.sets, SIMD_WIDTH), index, c, block
    cdef int64_t dy_image = p.sets * set_blocks * p.oh * p.ow * SIMD_WIDTH
    cdef outer_row* rows = <outer_row*> workspace(args, 4, thread)
    cdef float* copy = <float*> (rows + weight_part_channels(p) * taps)
    cdef float* sums
    cdef Steps s = weight_steps(p)
    cdef WeightTask t
    cdef WeightPass now, after
    cdef outer_walk walk
    cdef bint more
    for index in range(begin, end):
        t = weight_task(p, index)
        block = t.group_set * set_blocks + share(set_blocks, p.tiles, t.tile)
        sums = array(args, 3) + t.chunk * weight_chunk_size(p) + (block * p.depth - t.base) * taps * SIMD_WIDTH
        now = weight_pass(p, &t, t.band, t.channel, x, dy)
        more = True
        while more:
            c = (now.channel - t.channel) * taps
            if now.index == t.band:
                weight_rows(p, &s, now.channel, now.end_channel, rows + c)
            after = weight_pass(p, &t, now.index, now.end_channel, x, dy)
            if now.end_channel == t.end_channel:
                more = now.index + 1 < t.end_band
                after = weight_pass(p, &t, now.index + more, t.channel, x, dy)
            walk.count[0], walk.count[1], walk.count[2] = now.band.images, now.band.rows, now.band.cols
            walk.left[0], walk.left[1], walk.left[2] = s.image, p.stride_h * s.row, p.stride_w * s.col
            walk.right[0], walk.right[1], walk.right[2] = dy_image, p.ow * SIMD_WIDTH, SIMD_WIDTH
            walk = outer_longest_inside(walk)
            if p.copied:
                block = now.channel // p.lanes
                weight_copy(p, &now.band, &s, block, ceil_div(now.end_channel, p.lanes) - block, x, copy)
            weight_tiles(p, &t, &now, &after if more else NULL, &s, &walk, rows + c,
                         copy if p.copied else <float*> now.x, sums)
            now = after


cdef void conv2d_weight_grad_merge_direct(const int64_t* args, int64_t begin, int64_t end,
                                          int64_t thread) noexcept nogil:
    # A task adds up the chunks for MERGED_ROWS rows and one block of columns.
    cdef WeightSums sizes = weight_sums(args)
    cdef const WeightSums* p = &sizes
    cdef int64_t taps = p.kh * p.kw, group_out = p.oc // p.groups, group_depth = p.c // p.groups * taps
    cdef int64_t set_out = p.oc // p.sets, set_blocks = ceil_div(set_out, SIMD_WIDTH), depth = p.depth * taps
    cdef int64_t slices = ceil_div(depth, MERGED_ROWS)
    cdef int64_t task, slice_, block, group_set, tile, row, rows, count, base, group, lane, oc, i, shift
    cdef float* total = workspace(args, 4, thread)
    cdef const float* partial
    for task in range(begin, end):
        slice_, block, group_set = task % slices, task // slices % set_blocks, task // (slices * set_blocks)
        tile = ((block + 1) * p.tiles - 1) // set_blocks
        base = weight_first_channel(p, share(set_blocks, p.tiles, tile), group_set) * taps
        rows = weight_end_channel(p, share(set_blocks, p.tiles, tile + 1), group_set) * taps - base
        row = slice_ * MERGED_ROWS
        rows = least(MERGED_ROWS, rows - row)
        if rows <= 0:
            continue
        partial = array(args, 3) + ((group_set * set_blocks + block) * depth + row) * SIMD_WIDTH
        outer_merge(total, partial, rows * SIMD_WIDTH, p.chunks, weight_chunk_size(p))
        count = least(SIMD_WIDTH, set_out - block * SIMD_WIDTH)
        oc = group_set * set_out + block * SIMD_WIDTH
        if p.swapped:
            for i in range(rows):
                memcpy(array(args, 2) + (row + i) * p.oc + oc, total + i * SIMD_WIDTH, count * sizeof(float))
            continue
        if p.sets == p.groups:
            transpose(array(args, 2) + oc * group_depth + row, group_depth, rows, total, SIMD_WIDTH, rows, count)
            continue
        for lane in range(count):
            group = (oc + lane) // group_out
            shift = base + row - group * group_depth
            for i in range(most(0, -shift), least(rows, group_depth - shift)):
                array(args, 2)[(oc + lane) * group_depth + shift + i] = total[i * SIMD_WIDTH + lane]
