# Kernels whose work is to call others: depth first, for a group of images after the other, and several calls together.

from libc.string cimport memcpy


include "composite_structs.pxi"


cdef inline int64_t end_of_share(const DepthFirst *call, int64_t chunk) noexcept nogil:
    """Where the chunks end that are handed out with the given one: those of a thread."""
    cdef int64_t owner = ((chunk + 1) * call.threads - 1) // call.chunks
    return call.chunks * (owner + 1) // call.threads


cdef void depth_first(const int64_t *args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    """Chunks ``begin..end`` of the groups: for each group every stage, all its tasks.

    The stages' arguments are a copy of the template at the front of the thread's own memory.
    """
    cdef const DepthFirst *call = <const DepthFirst *>args
    cdef int64_t *slots = <int64_t *>(call.memory + thread * call.stride)
    cdef double *seconds = NULL if call.seconds == NULL else call.seconds + thread * call.stage_count
    cdef int64_t chunk, group, first, i, share_end
    memcpy(slots, call.template, call.slots * sizeof(int64_t))
    for chunk in range(begin, end):
        first = call.groups * chunk // call.chunks
        share_end = call.groups * end_of_share(call, chunk) // call.chunks
        for group in range(first, call.groups * (chunk + 1) // call.chunks):
            for i in range(call.patch_count):
                apply(&call.patches[i], call.template, slots, chunk, group, group > first, share_end)
            run_stages(call, slots, seconds, thread)


cdef inline void apply(
    const Patch *patch, const int64_t *template, int64_t *slots, int64_t chunk, int64_t group, bint later,
    int64_t share_end
) noexcept nogil:
    cdef int64_t value = template[patch.slot]
    if patch.kind == OWN:
        value += <int64_t>slots
    elif patch.kind == ACCUMULATE:
        value = later
    elif patch.kind == SHARE_END:
        value = share_end
    else:
        value += group * patch.group_stride + chunk * patch.chunk_stride
    slots[patch.slot] = value


cdef inline void run_stages(const DepthFirst *call, int64_t *slots, double *seconds, int64_t thread) noexcept nogil:
    cdef const Stage *stage
    cdef int64_t i, now, since = 0
    if seconds != NULL:
        since = ne_now()
    for i in range(call.stage_count):
        stage = &call.stages[i]
        stage.function(slots + stage.first, 0, stage.tasks, thread)
        if seconds != NULL:
            now = ne_now()
            seconds[i] += 1e-9 * <double>(now - since)
            since = now


cdef void merged(const int64_t *args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    """Tasks ``begin..end`` of calls that do not depend on each other, counted from the first to the last."""
    cdef const Merged *call = <const Merged *>args
    cdef const Part *part
    cdef int64_t i, low, high, since = 0
    for i in range(call.part_count):
        part = &call.parts[i]
        low = max(begin - part.first, 0)
        high = min(end - part.first, part.tasks)
        if low >= high:
            continue
        if call.seconds != NULL:
            since = ne_now()
        part.function(part.args, low, high, thread)
        if call.seconds != NULL:
            call.seconds[thread * call.part_count + i] += 1e-9 * <double>(ne_now() - since)


ADDRESSES = {"depth_first": <size_t>&depth_first, "merged": <size_t>&merged}
