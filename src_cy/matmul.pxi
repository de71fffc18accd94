# Matrix products: the right factor packed once into panels of TILE_COLS columns, the left one tile by tile by the task
# that uses it.

cdef struct Product:
    int64_t m, n, k


cdef void pack_columns(const float* b, int64_t n, int64_t depth, bint transposed, int64_t panel,
                       float* to) noexcept nogil:
    # One panel [depth][TILE_COLS] of b (depth, n), or of its transpose where b is stored (n, depth).
    cdef int64_t first = panel * TILE_COLS, count = least(TILE_COLS, n - first), k, j
    if transposed:
        transpose(to, TILE_COLS, TILE_COLS, b + first * depth, depth, count, depth)
        return
    for k in range(depth):
        for j in range(count):
            to[j] = b[k * n + first + j]
        for j in range(count, TILE_COLS):
            to[j] = 0
        to += TILE_COLS


cdef void pack_rows(const float* a, int64_t m, int64_t depth, bint transposed, int64_t first, int64_t count,
                    int64_t depth_first, int64_t depth_end, float* to) noexcept nogil:
    # One tile [depth][TILE_ROWS] of a (m, depth), or of its transpose where a is stored (depth, m).
    cdef int64_t k, r
    for k in range(depth_first, depth_end):
        for r in range(count):
            to[r] = a[k * m + first + r] if transposed else a[(first + r) * depth + k]
        to += TILE_ROWS


cdef void multiply_rows(const Product* p, const float* a, bint transposed, const float* panels, const float* bias,
                        float* y, int64_t depth_block, int64_t tile_first, int64_t tile_end, int64_t panel_first,
                        int64_t panel_end, float* packed) noexcept nogil:
    # The rows of some tiles and the columns of some panels of y.
    cdef int64_t tiles = ceil_div(p.m, TILE_ROWS), depth_first = 0, depth_end, panel, tile, first, count, cols, r, j
    cdef int64_t vectors, offset
    cdef float start[32]
    cdef float buffer[16 * 32]
    cdef float* out
    while depth_first < p.k:
        depth_end = least(depth_first + depth_block, p.k)
        for tile in range(tile_first, tile_end):
            first = share(p.m, tiles, tile)
            pack_rows(a, p.m, p.k, transposed, first, share(p.m, tiles, tile + 1) - first, depth_first, depth_end,
                      packed + (tile - tile_first) * depth_block * TILE_ROWS)
        for panel in range(panel_first, panel_end):
            offset = panel * TILE_COLS
            cols = least(TILE_COLS, p.n - offset)
            vectors = 1 if cols <= SIMD_WIDTH else 2
            for j in range(TILE_COLS):
                start[j] = bias[offset + j] if bias and j < cols else 0
            for tile in range(tile_first, tile_end):
                first = share(p.m, tiles, tile)
                count = share(p.m, tiles, tile + 1) - first
                out = y + first * p.n + offset
                for r in range(count):
                    for j in range(vectors * SIMD_WIDTH):
                        buffer[r * TILE_COLS + j] = start[j]
                    if depth_first > 0:
                        for j in range(cols):
                            buffer[r * TILE_COLS + j] = out[r * p.n + j]
                product_packed(count, vectors, depth_end - depth_first,
                               packed + (tile - tile_first) * depth_block * TILE_ROWS,
                               panels + (panel * p.k + depth_first) * TILE_COLS, buffer, TILE_COLS, NULL, 1)
                for r in range(count):
                    for j in range(cols):
                        out[r * p.n + j] = buffer[r * TILE_COLS + j]
        depth_first = depth_end


cdef void multiply_task(const Product* p, const int64_t* extra, int64_t task, const float* a, bint transposed,
                        const float* panels, const float* bias, float* y, float* packed) noexcept nogil:
    # extra = row blocks, column blocks, depth block.
    cdef int64_t tiles = ceil_div(p.m, TILE_ROWS), columns = ceil_div(p.n, TILE_COLS)
    cdef int64_t row_block = task % extra[0], column_block = task // extra[0]
    multiply_rows(p, a, transposed, panels, bias, y, extra[2], share(tiles, extra[0], row_block),
                  share(tiles, extra[0], row_block + 1), share(columns, extra[1], column_block),
                  share(columns, extra[1], column_block + 1), packed)


cdef void linear_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Product* p = <const Product*> &args[7]
    cdef int64_t panel
    for panel in range(begin, end):
        pack_columns(array(args, 1), p.n, p.k, True, panel, array(args, 4) + panel * p.k * TILE_COLS)


cdef void linear_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef int64_t task
    for task in range(begin, end):
        multiply_task(<const Product*> &args[7], &args[10], task, array(args, 0), False, array(args, 4),
                      array(args, 2), array(args, 3), workspace(args, 5, thread))


cdef void matmul_pack(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const Product* p = <const Product*> &args[6]
    cdef int64_t panel
    for panel in range(begin, end):
        pack_columns(array(args, 1), p.n, p.k, args[10] != 0, panel, array(args, 3) + panel * p.k * TILE_COLS)


cdef void matmul_gemm(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef int64_t task
    for task in range(begin, end):
        multiply_task(<const Product*> &args[6], &args[11], task, array(args, 0), args[9] != 0, array(args, 3), NULL,
                      array(args, 2), workspace(args, 4, thread))
