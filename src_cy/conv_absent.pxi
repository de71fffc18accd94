# What direct convolution does about absent weights (absent.h), where outputs of one block differ in their inputs.

cdef extern from "absent.h" nogil:
    float present(float weight)
    void pack_absent(float* to, int64_t count)
    void pack_present(float* to, int64_t count)
    int finite_rows(const float* x, int64_t rows, int64_t row_step, int64_t cols, int64_t col_step)
    const int PRESENT_PIXELS
    void present_store(int64_t pixels, int64_t vectors, int sharing, const tile_depth* depth, const float* x,
                       const int64_t* source, const float* w, const float* given, float* out, const int64_t* target,
                       int64_t out_block, int accumulate, const tile_finish* finish)


cdef bint finite_band(const Direct* d, const Side* side, const float* band, int64_t image, int64_t images, int64_t row,
                      int64_t first, int64_t end) noexcept nogil:
    # Whether the blocks first..end of what a band reads are finite; between pixels without neighbours it reads nothing.
    cdef int64_t down = d.step_h if d.height == (d.rows - 1) * d.step_h + 1 else 1
    cdef int64_t right = d.step_w if d.width == (grids_of(d).width - 1) * d.step_w + 1 else 1
    cdef int64_t rows = d.height, i, b
    cdef const float* x = band
    if not d.copied:
        x = side.data + image * d.image + first * d.block + row * d.step_h * d.row
        rows = least(rows, d.block // d.row - row * d.step_h)
    for i in range(images):
        for b in range(end - first):
            if not finite_rows(x + i * d.image + b * d.block, ceil_div(rows, down), down * d.row,
                               ceil_div(d.width, right), right * SIMD_WIDTH):
                return False
    return True


cdef void present_pixels(const Direct* d, const Grid* phase, const int64_t* source, const int64_t* target, int64_t
                         pixels, int64_t vectors, const tile_depth* depth, const float* x, const float* w, float* out,
                         int64_t out_block, bint accumulate, const tile_finish* finish) noexcept nogil:
    # As pixel_tiles, of inputs that are not finite: the same sums, but for the products of absent weights.
    cdef bint sharing = phase.across and TAPS_PIXELS(vectors) > 0
    cdef tile_depth some = depth[0]
    cdef float made[4 * 4 * 16]
    cdef int64_t places[4]
    cdef int64_t i, now, place
    for i in range(PRESENT_PIXELS):
        places[i] = i * TILE_VECTORS * SIMD_WIDTH
    i = 0
    while i < pixels:
        now = least(PRESENT_PIXELS, pixels - i)
        if sharing:
            now = least(now, phase.width - i % phase.width)
            place = i % phase.width * d.step_w
            some.first, some.end = depth.first - place, depth.end - place
            taps_tiles(now, SIMD_WIDTH, d.step_w, vectors, &some, x + source[i], w, made, places, SIMD_WIDTH, 0, NULL)
        else:
            tiles(now, 0, 1, vectors, depth, x, source + i, w, made, places, SIMD_WIDTH, 0, NULL)
        present_store(now, vectors, sharing, depth, x, source + i, w, made, out, target + i, out_block, accumulate,
                      finish)
        i += now
