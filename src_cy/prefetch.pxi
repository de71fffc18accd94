# What the calls of a group prefetch, while they work on something else.

cdef void prefetch(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # The calls that follow prefetch the arrays, those of the next group only if that is the thread's.
    cdef const Prefetch* a = <const Prefetch*> args
    cdef const PrefetchedArray* arrays = <const PrefetchedArray*> (a + 1)
    cdef prefetcher* s = a.prefetcher
    cdef int64_t i
    memset(s, 0, sizeof(s[0]))
    s.rate = a.rate
    for i in range(a.array_count if a.group + 1 < a.end else a.own):
        prefetch_add(s, arrays[i].start, 0, 1, arrays[i].lines)
