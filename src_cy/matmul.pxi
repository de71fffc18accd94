# Matrix products y = a b, in three ways: sums of outer products, for which columns of b are copied into panels (or read
# in place, where few rows use them); dot products of rows, for which nothing is copied; and rows of few terms. Tasks are
# those of the first product, then those of the next.

cdef extern from "matmul.h" nogil:
    const int MATRIX_ROWS
    const int DOT_ROWS
    const int DOT_COLS
    int64_t matrix_vectors(int64_t rows)
    ctypedef struct matrix_finish:
        const float* bias
        float low, high
    void matrix_by_rows(int64_t rows, int64_t vectors, int64_t depth, const float* a, int64_t a_pitch, const float* b,
                        int64_t b_row, float* y, int64_t y_row, int accumulate, const matrix_finish* finish)
    void matrix_by_columns(int64_t rows, int64_t vectors, int64_t depth, const float* a, int64_t a_pitch,
                           const float* b, int64_t b_row, float* y, int64_t y_row, int accumulate,
                           const matrix_finish* finish)
    void dot_product(int64_t rows, int64_t cols, int64_t depth, const float* a, int64_t a_row, const float* b,
                     int64_t b_row, float* y, int64_t y_row, int accumulate, const matrix_finish* finish)
    void matrix_terms(int64_t depth, const float* a, int64_t a_step, const float* b, int64_t b_row, float* y,
                      int64_t columns)
    void matrix_pack(float* to, int64_t width, const float* b, int64_t b_row, int64_t depth, int64_t count)
    void matrix_pack_transposed(float* to, int64_t width, const float* b, int64_t b_row, int64_t depth, int64_t count)


cdef struct Tiles:
    # So many of nearly equal size, the first ones larger by one.
    int64_t count, size, larger


cdef inline Tiles tiles_of(int64_t total, int64_t most) noexcept nogil:
    cdef Tiles t
    t.count = ceil_div(total, most)
    t.size, t.larger = total // t.count, total % t.count
    return t


cdef inline int64_t tile_start(const Tiles* t, int64_t tile) noexcept nogil:
    return tile * t.size + least(tile, t.larger)


cdef struct Product:
    # A factor that is flipped is stored as its transpose.
    const float* a
    const float* b
    float* y
    int64_t m, n, k
    bint flip_a, flip_b
    const matrix_finish* finish
    Tiles rows, columns


cdef struct PanelPart:
    # What a task does between two depths: its tiles, and where the copies of a and of b lie.
    int64_t tile_first, tile_end, row_first, depth_first, depth
    float* a
    float* b


cdef void multiply_panel(const Product* p, const Panels* g, const PanelPart* part, int64_t panel, const float* b,
                         int64_t b_row, int64_t tile_first, int64_t tile_end) noexcept nogil:
    # Some tiles of one panel.
    cdef int64_t width = g.vectors * SIMD_WIDTH, column = panel * width, cols = least(width, p.n - column)
    cdef int64_t vectors = ceil_div(cols, SIMD_WIDTH), pitch = p.n, tile, first, rows, r
    cdef bint accumulate = part.depth_first > 0, whole = cols == vectors * SIMD_WIDTH
    cdef float[512] buffer
    cdef float[128] bias
    cdef float* y
    cdef const matrix_finish* finish = NULL
    cdef matrix_finish here
    if p.finish and part.depth_first + part.depth == p.k:
        here = p.finish[0]
        finish = &here
        if here.bias:
            here.bias += column
        if here.bias and not whole:
            memcpy(bias, here.bias, cols * sizeof(float))
            memset(bias + cols, 0, (vectors * SIMD_WIDTH - cols) * sizeof(float))
            here.bias = bias
    for tile in range(tile_first, tile_end):
        first = tile_start(&p.rows, tile)
        rows = tile_start(&p.rows, tile + 1) - first
        y = p.y + first * p.n + column
        if not whole:
            pitch = vectors * SIMD_WIDTH
            for r in range(rows if accumulate else 0):
                memcpy(buffer + r * pitch, y + r * p.n, cols * sizeof(float))
                memset(buffer + r * pitch + cols, 0, (pitch - cols) * sizeof(float))
        if g.copied_row:
            matrix_by_columns(rows, vectors, part.depth, part.a + first - part.row_first, g.copied_row, b, b_row,
                              y if whole else buffer, pitch, accumulate, finish)
        elif p.flip_a:
            matrix_by_columns(rows, vectors, part.depth, p.a + part.depth_first * p.m + first, p.m, b, b_row,
                              y if whole else buffer, pitch, accumulate, finish)
        else:
            matrix_by_rows(rows, vectors, part.depth, p.a + first * p.k + part.depth_first, p.k, b, b_row,
                           y if whole else buffer, pitch, accumulate, finish)
        if not whole:
            for r in range(rows):
                memcpy(y + r * p.n, buffer + r * pitch, cols * sizeof(float))


cdef void copy_panels(const Product* p, const Panels* g, const PanelPart* part, int64_t first,
                      int64_t end) noexcept nogil:
    cdef int64_t width = g.vectors * SIMD_WIDTH, column = first * width, count = least(end * width, p.n) - column
    if p.flip_b:
        matrix_pack_transposed(part.b, width, p.b + column * p.k + part.depth_first, p.k, part.depth, count)
    else:
        matrix_pack(part.b, width, p.b + part.depth_first * p.n + column, p.n, part.depth, count)


cdef void copy_columns(const Product* p, const Panels* g, const PanelPart* part) noexcept nogil:
    # The columns of a, flipped, that a task reads between two depths.
    cdef int64_t k, count = tile_start(&p.rows, part.tile_end) - part.row_first
    for k in range(part.depth):
        memcpy(part.a + k * g.copied_row, p.a + (part.depth_first + k) * p.m + part.row_first, count * sizeof(float))


cdef void multiply_part(const Product* p, const Panels* g, const PanelPart* part, int64_t panel_first,
                        int64_t panel_end) noexcept nogil:
    # The panels of a task between two depths, group by group.
    cdef int64_t width = g.vectors * SIMD_WIDTH, first = panel_first, end, panel, tile
    cdef bint in_place
    while first < panel_end:
        in_place = g.in_place and (first + 1) * width <= p.n
        end = first + 1 if in_place else least(first + g.together, panel_end)
        if not in_place:
            copy_panels(p, g, part, first, end)
        tile = part.tile_first
        while tile < part.tile_end:
            for panel in range(first, end):
                if in_place:
                    multiply_panel(p, g, part, panel, p.b + part.depth_first * p.n + panel * width, p.n, tile,
                                   least(tile + g.tiles_together, part.tile_end))
                else:
                    multiply_panel(p, g, part, panel, part.b + (panel - first) * part.depth * width, width, tile,
                                   least(tile + g.tiles_together, part.tile_end))
            tile += g.tiles_together
        first = end


cdef void multiply_task(const Product* p, const Panels* g, int64_t task, float* memory) noexcept nogil:
    cdef int64_t panels = ceil_div(p.n, g.vectors * SIMD_WIDTH)
    cdef int64_t row_part = task % g.row_parts, column_part = task // g.row_parts
    cdef PanelPart part
    part.tile_first = share(p.rows.count, g.row_parts, row_part)
    part.tile_end = share(p.rows.count, g.row_parts, row_part + 1)
    part.row_first = tile_start(&p.rows, part.tile_first)
    part.b = memory
    part.a = memory + g.together * g.depth * g.vectors * SIMD_WIDTH
    part.depth_first = 0
    while part.depth_first < p.k:
        part.depth = least(g.depth, p.k - part.depth_first)
        if g.copied_row:
            copy_columns(p, g, &part)
        multiply_part(p, g, &part, share(panels, g.column_parts, column_part),
                      share(panels, g.column_parts, column_part + 1))
        part.depth_first += part.depth


cdef void dot_block(const Product* p, int64_t depth_first, int64_t depth, int64_t tile_first, int64_t tile_end,
                    int64_t column_first, int64_t column_end) noexcept nogil:
    # Some tiles of rows, and columns tile by tile.
    cdef int64_t tile, column, columns, first, cols, row
    cdef matrix_finish here
    cdef const matrix_finish* finish = NULL
    for columns in range(column_first, column_end):
        column = tile_start(&p.columns, columns)
        cols = tile_start(&p.columns, columns + 1) - column
        if p.finish and depth_first + depth == p.k:
            here = p.finish[0]
            finish = &here
            if here.bias:
                here.bias += column
        for tile in range(tile_first, tile_end):
            row = tile_start(&p.rows, tile)
            dot_product(tile_start(&p.rows, tile + 1) - row, cols, depth, p.a + row * p.k + depth_first, p.k,
                        p.b + column * p.k + depth_first, p.k, p.y + row * p.n + column, p.n, depth_first > 0, finish)


cdef void dot_task(const Product* p, const Dots* d, int64_t task) noexcept nogil:
    cdef int64_t row_part = task % d.row_parts, column_part = task // d.row_parts, depth_first = 0, tile
    cdef int64_t tile_end = share(p.rows.count, d.row_parts, row_part + 1)
    while depth_first < p.k:
        tile = share(p.rows.count, d.row_parts, row_part)
        while tile < tile_end:
            dot_block(p, depth_first, least(d.depth, p.k - depth_first), tile,
                      least(tile + d.tiles_together, tile_end), share(p.columns.count, d.column_parts, column_part),
                      share(p.columns.count, d.column_parts, column_part + 1))
            tile += d.tiles_together
        depth_first += d.depth


cdef void linear_product(Product* p, const float* x, const float* weight, float* y,
                         const MatrixProduct* sizes) noexcept nogil:
    p.a, p.b, p.y = x, weight, y
    p.m, p.n, p.k = sizes.m, sizes.n, sizes.k
    p.flip_a, p.flip_b = False, True


cdef void linear_finish(Product* p, matrix_finish* finish, const float* bias, const Clamp* clamp) noexcept nogil:
    finish.bias, finish.low, finish.high = bias, <float> clamp.low, <float> clamp.high
    p.finish = finish


cdef void matmul_product(Product* p, const float* a, const float* b, float* y, const MatrixProduct* sizes,
                         const Transposed* flips, const Batches* batches, int64_t product) noexcept nogil:
    # One of many, with its own factors and result.
    cdef int64_t outer = product // batches.inner, inner = product % batches.inner
    p.m, p.n, p.k = sizes.m, sizes.n, sizes.k
    p.a = a + (outer * batches.a_outer + inner * batches.a_inner) * p.m * p.k
    p.b = b + (outer * batches.b_outer + inner * batches.b_inner) * p.k * p.n
    p.y = y + product * p.m * p.n
    p.flip_a, p.flip_b = flips.transpose_a != 0, flips.transpose_b != 0
    p.finish = NULL


cdef void linear_panels(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const LinearPanelsF32* a = <const LinearPanelsF32*> args
    cdef matrix_finish finish
    cdef Product p
    cdef int64_t task
    linear_product(&p, a.x, a.weight, a.y, &a.matrix_product)
    linear_finish(&p, &finish, a.bias, &a.clamp)
    p.rows = tiles_of(p.m, MATRIX_ROWS)
    for task in range(begin, end):
        multiply_task(&p, &a.extra, task, workspace_of(&a.memory, thread))


cdef void linear_dots(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const LinearDotsF32* a = <const LinearDotsF32*> args
    cdef matrix_finish finish
    cdef Product p
    cdef int64_t task
    linear_product(&p, a.x, a.weight, a.y, &a.matrix_product)
    linear_finish(&p, &finish, a.bias, &a.clamp)
    p.rows, p.columns = tiles_of(p.m, DOT_ROWS), tiles_of(p.n, DOT_COLS)
    for task in range(begin, end):
        dot_task(&p, &a.extra, task)


cdef void matmul_panels(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const MatmulPanelsF32* a = <const MatmulPanelsF32*> args
    cdef Product p
    cdef int64_t task, tasks = a.extra.row_parts * a.extra.column_parts
    p.rows = tiles_of(a.matrix_product.m, MATRIX_ROWS)
    for task in range(begin, end):
        matmul_product(&p, a.a, a.b, a.y, &a.matrix_product, &a.transposed, &a.batches, task // tasks)
        multiply_task(&p, &a.extra, task % tasks, workspace_of(&a.memory, thread))


cdef void matmul_dots(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    cdef const MatmulDotsF32* a = <const MatmulDotsF32*> args
    cdef Product p
    cdef int64_t task, tasks = a.extra.row_parts * a.extra.column_parts
    p.rows, p.columns = tiles_of(a.matrix_product.m, DOT_ROWS), tiles_of(a.matrix_product.n, DOT_COLS)
    for task in range(begin, end):
        matmul_product(&p, a.a, a.b, a.y, &a.matrix_product, &a.transposed, &a.batches, task // tasks)
        dot_task(&p, &a.extra, task % tasks)


cdef void matmul_terms(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # A task makes some rows, each in one go.
    cdef const MatmulRowsF32* a = <const MatmulRowsF32*> args
    cdef Product p
    cdef int64_t tasks = a.extra.tasks, task, row
    for task in range(begin, end):
        matmul_product(&p, a.a, a.b, a.y, &a.matrix_product, &a.transposed, &a.batches, task // tasks)
        for row in range(share(p.m, tasks, task % tasks), share(p.m, tasks, task % tasks + 1)):
            matrix_terms(p.k, p.a + (row if p.flip_a else row * p.k), p.m if p.flip_a else 1, p.b, p.n,
                         p.y + row * p.n, p.n)
