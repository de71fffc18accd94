# The weight gradient as a sum of outer products over pixels: dw[oc, c, tap] = sum of dy[oc, pixel] x[c, its pixel].
#
# dy lies in blocks of SIMD_WIDTH channels. x lies in blocks of ``lanes`` channels: SIMD_WIDTH, or 1 for plain images. A
# row of the outer product is one input channel under one tap, its columns are the blocks of a tile of dy. The pixels
# pass in bands that stay in the L1 cache; where there is padding, a band of x is copied with its borders.

cdef extern from "outer.h" nogil:
    const int OUTER_BLOCKS
    int64_t OUTER_ROWS(int64_t blocks)
    ctypedef struct outer_row:
        int64_t start, to
    ctypedef struct outer_walk:
        int64_t count[3]
        int64_t left[3]
        int64_t right[3]
    outer_walk outer_longest_inside(outer_walk walk)
    void outer_line(float* to, int64_t before, const float* values, int64_t count, int64_t after)
    void outer_merge(float* total, const float* part, int64_t count, int64_t parts, int64_t pitch)
    void outer_sums(int64_t rows, int64_t blocks, const outer_row* row, const outer_walk* walk, const float* left,
                    const float* right, int64_t right_block, float* out, int64_t out_block, int64_t accumulate)

cdef extern from "simd.h" nogil:
    void transpose(float* to, int64_t to_pitch, int64_t width, const float* values, int64_t from_pitch, int64_t rows,
                   int64_t cols)

cdef enum:
    MERGED_ROWS = 64


cdef struct WeightSums:
    # The parameters of a convolution's signature, in their order, and how the sums are split.
    int64_t n, c, h, w, oc, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups
    # Groups whose output channels are whole blocks are ``sets`` of their own; else there is one set. Its blocks of
    # output channels are split into nearly equal ``tiles``, those into ``tile_parts`` and, where a set is one group,
    # its input channels into ``channel_parts``; the bands are split into ``chunks``.
    int64_t lanes, sets, tiles, tile_parts, channel_parts, chunks
    # The pixels are split into image_bands * row_bands * col_bands; ``together`` input channels pass at a time.
    int64_t image_bands, row_bands, col_bands, together, copied
    # Input channels of which a tile has sums, at most.
    int64_t depth


cdef struct Band:
    int64_t image, images, row, rows, col, cols


cdef struct Source:
    # Where a band of x lies, with steps in floats.
    const float* start
    int64_t image, block, row, col


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


cdef Source weight_source(const WeightSums* p) noexcept nogil:
    # The steps within x where bands are read in place, else within the copy of the largest band.
    cdef Source s
    s.start = NULL
    s.col, s.row = p.lanes, p.w * p.lanes
    s.block = p.h * s.row
    s.image = ceil_div(p.c, p.lanes) * s.block
    if p.copied:
        s.row = ((ceil_div(p.ow, p.col_bands) - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1) * p.lanes
        s.block = ((ceil_div(p.oh, p.row_bands) - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1) * s.row
        s.image = p.together // p.lanes * s.block
    return s


cdef void weight_copy(const WeightSums* p, const Band* band, const Source* s, int64_t block, int64_t blocks,
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


cdef int64_t weight_rows(const WeightSums* p, const Source* s, int64_t first, int64_t end,
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
    return count


cdef void weight_tiles(const WeightSums* p, int64_t set_blocks, int64_t first_tile, int64_t end_tile,
                       const outer_row* rows, int64_t row_count, const outer_walk* walk, const float* x,
                       const float* dy, float* sums, int64_t sums_block, int64_t accumulate) noexcept nogil:
    # All the rows times the given tiles; dy and sums are those of the set's first block.
    cdef int64_t tile, block, blocks, part, parts, row, dy_block = p.oh * p.ow * SIMD_WIDTH
    for tile in range(first_tile, end_tile):
        block = share(set_blocks, p.tiles, tile)
        blocks = share(set_blocks, p.tiles, tile + 1) - block
        parts = ceil_div(row_count, OUTER_ROWS(blocks))
        for part in range(parts):
            row = share(row_count, parts, part)
            outer_sums(share(row_count, parts, part + 1) - row, blocks, rows + row, walk, x, dy + block * dy_block,
                       dy_block, sums + block * sums_block, sums_block, accumulate)


cdef int64_t weight_first_channel(const WeightSums* p, int64_t block, int64_t group_set) noexcept nogil:
    # The first input channel that a tile starting with the given block of a set has sums of.
    if p.sets == p.groups:
        return group_set * (p.c // p.groups)
    return block * SIMD_WIDTH // (p.oc // p.groups) * (p.c // p.groups)


cdef int64_t weight_end_channel(const WeightSums* p, int64_t end_block, int64_t group_set) noexcept nogil:
    if p.sets == p.groups:
        return (group_set + 1) * (p.c // p.groups)
    return ((least(p.oc, end_block * SIMD_WIDTH) - 1) // (p.oc // p.groups) + 1) * (p.c // p.groups)


cdef int64_t weight_part_channels(const WeightSums* p) noexcept nogil:
    # Input channels of a task, at most.
    return ceil_div(ceil_div(p.depth, p.lanes), p.channel_parts) * p.lanes


cdef void conv2d_weight_grad_direct(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task is a chunk of the bands for a part of the tiles and of the input channels of a set.
    cdef const WeightSums* p = <const WeightSums*> &args[6]
    cdef const float* dy = array(args, 0)
    cdef const float* x = array(args, 1)
    cdef int64_t taps = p.kh * p.kw, set_blocks = ceil_div(p.oc // p.sets, SIMD_WIDTH)
    cdef int64_t sums_block = p.depth * taps * SIMD_WIDTH, dy_block = p.oh * p.ow * SIMD_WIDTH
    cdef int64_t dy_image = p.sets * set_blocks * dy_block, bands = p.image_bands * p.row_bands * p.col_bands
    cdef int64_t task, group_set, tile, end_tile, part, chunk, base, first, last, c, stop, index, start, row, units
    cdef Source s = weight_source(p)
    cdef outer_row* rows = <outer_row*> workspace(args, 4, thread)
    cdef float* copy = <float*> (rows + weight_part_channels(p) * taps)
    cdef float* sums
    cdef outer_walk walk
    cdef Band band
    for task in range(begin, end):
        part, tile = task % p.channel_parts, task // p.channel_parts % p.tile_parts
        group_set = task // (p.channel_parts * p.tile_parts) % p.sets
        chunk = task // (p.channel_parts * p.tile_parts * p.sets)
        tile, end_tile = share(p.tiles, p.tile_parts, tile), share(p.tiles, p.tile_parts, tile + 1)
        base = weight_first_channel(p, share(set_blocks, p.tiles, tile), group_set)
        stop = weight_end_channel(p, share(set_blocks, p.tiles, end_tile), group_set)
        units = ceil_div(stop - base, p.lanes)
        first = base + share(units, p.channel_parts, part) * p.lanes
        last = least(stop, base + share(units, p.channel_parts, part + 1) * p.lanes)
        sums = array(args, 3) + (chunk * p.sets + group_set) * set_blocks * sums_block - base * taps * SIMD_WIDTH
        c, row = first, 0
        while c < last:
            stop = least(last, (c // p.together + 1) * p.together)
            row += weight_rows(p, &s, c, stop, rows + row)
            c = stop
        start = share(bands, p.chunks, chunk)
        for index in range(start, share(bands, p.chunks, chunk + 1)):
            band = weight_band(p, index)
            walk.count[0], walk.count[1], walk.count[2] = band.images, band.rows, band.cols
            walk.left[0], walk.left[1], walk.left[2] = s.image, p.stride_h * s.row, p.stride_w * s.col
            walk.right[0], walk.right[1], walk.right[2] = dy_image, p.ow * SIMD_WIDTH, SIMD_WIDTH
            walk = outer_longest_inside(walk)
            c, row = first, 0
            while c < last:
                stop = least(last, (c // p.together + 1) * p.together)
                if p.copied:
                    weight_copy(p, &band, &s, c // p.lanes, ceil_div(stop, p.lanes) - c // p.lanes, x, copy)
                    s.start = copy
                else:
                    s.start = (x + band.image * s.image + c // p.lanes * s.block
                               + (band.row * p.stride_h - p.pad_top) * s.row
                               + (band.col * p.stride_w - p.pad_left) * s.col)
                weight_tiles(p, set_blocks, tile, end_tile, rows + row, (stop - c) * taps, &walk, s.start,
                             dy + band.image * dy_image + group_set * set_blocks * dy_block
                             + (band.row * p.ow + band.col) * SIMD_WIDTH, sums, sums_block, index > start)
                row += (stop - c) * taps
                c = stop


cdef void conv2d_weight_grad_merge_direct(const int64_t* args, int64_t begin, int64_t end,
                                          int64_t thread) noexcept nogil:
    # A task adds up the chunks for MERGED_ROWS rows and one block of output channels.
    cdef const WeightSums* p = <const WeightSums*> &args[6]
    cdef int64_t taps = p.kh * p.kw, group_out = p.oc // p.groups, group_depth = p.c // p.groups * taps
    cdef int64_t set_out = p.oc // p.sets, set_blocks = ceil_div(set_out, SIMD_WIDTH), depth = p.depth * taps
    cdef int64_t slices = ceil_div(depth, MERGED_ROWS), chunk_size = p.sets * set_blocks * depth * SIMD_WIDTH
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
        outer_merge(total, partial, rows * SIMD_WIDTH, p.chunks, chunk_size)
        count = least(SIMD_WIDTH, set_out - block * SIMD_WIDTH)
        oc = group_set * set_out + block * SIMD_WIDTH
        if p.sets == p.groups:
            transpose(array(args, 2) + oc * group_depth + row, group_depth, rows, total, SIMD_WIDTH, rows, count)
            continue
        for lane in range(count):
            group = (oc + lane) // group_out
            shift = base + row - group * group_depth
            for i in range(most(0, -shift), least(rows, group_depth - shift)):
                array(args, 2)[(oc + lane) * group_depth + shift + i] = total[i * SIMD_WIDTH + lane]
