# Weighted sums of pixels by tables.

cdef extern from "resample.h" nogil:
    const int RESAMPLE_HELD, RESAMPLE_ENTRIES, RESAMPLE_PERMUTES
    ctypedef struct resample_table:
        const int64_t* starts
        const int64_t* places
        const float* weights
    ctypedef struct resample_vectors:
        int64_t vectors
        int64_t* first
        int32_t* lanes
        float* weights
    ctypedef struct resample_rows_held:
        const float* x
        float* rows
        const resample_table* columns
        const resample_vectors* vectors
        int64_t in_pitch, out_pitch, out_width, slots
        int keeps_columns
    void resample_vectors_of(resample_vectors* v, const resample_table* c, int64_t most, int64_t in_width,
                             int64_t out_width)
    void resample_rows_blocked(const resample_table* r, resample_rows_held* h, float* y, int64_t i_first,
                               int64_t i_end)
    void resample_rows_plain(const resample_table* r, resample_rows_held* h, float* y, int64_t i_first, int64_t i_end)


cdef inline resample_table table_of(const int64_t* taps, const float* weights, int64_t outputs) noexcept nogil:
    cdef resample_table t
    t.starts, t.places, t.weights = taps, taps + outputs + 1, weights
    return t


cdef inline resample_vectors vectors_in(float* memory, int64_t entries, int64_t outputs) noexcept nogil:
    # Weights, lanes, and where vectors begin, one behind the other.
    cdef resample_vectors v
    cdef int64_t count = entries * ceil_div(outputs, SIMD_WIDTH)
    v.weights, v.lanes = memory, <int32_t*> (memory + count * SIMD_WIDTH)
    v.first = <int64_t*> (memory + 2 * count * SIMD_WIDTH)
    return v


cdef inline void resample2d(const Resample2dHeldF32* a, int64_t lanes, int64_t begin, int64_t end,
                            int64_t thread) noexcept nogil:
    # A task makes some rows of one plane; a pixel of it has so many lanes.
    cdef const Resample* p = &a.resample
    cdef int64_t parts = a.extra.parts, task, plane, first, last
    cdef resample_table rows = table_of(a.row_taps, a.row_weights, p.oh)
    cdef resample_table columns = table_of(a.column_taps, a.column_weights, p.ow)
    cdef float* memory = workspace_of(&a.memory, thread)
    cdef resample_vectors vectors = vectors_in(memory, a.extra.entries, p.ow)
    cdef resample_rows_held held
    if lanes == 1:
        resample_vectors_of(&vectors, &columns, a.extra.entries, p.w, p.ow)
    held.rows, held.columns, held.vectors = memory + a.extra.vectors, &columns, &vectors
    held.keeps_columns = p.keeps_columns != 0
    held.in_pitch, held.out_pitch, held.out_width, held.slots = p.w * lanes, p.ow * lanes, p.ow, a.extra.held
    for task in range(begin, end):
        plane = task // parts
        first, last = share(p.oh, parts, task % parts), share(p.oh, parts, task % parts + 1)
        held.x = a.x + plane * p.h * held.in_pitch
        if lanes == 1:
            resample_rows_plain(&rows, &held, a.y + plane * p.oh * held.out_pitch, first, last)
        else:
            resample_rows_blocked(&rows, &held, a.y + plane * p.oh * held.out_pitch, first, last)


cdef void resample2d_blocked(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    resample2d(<const Resample2dHeldF32*> args, SIMD_WIDTH, begin, end, thread)


cdef void resample2d_plain(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    resample2d(<const Resample2dHeldF32*> args, 1, begin, end, thread)
