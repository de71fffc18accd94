# What the calls on a thread ask memory for ahead, while they work on something else.

cdef extern from "prefetch.h" nogil:
    """
    static prefetcher *this_thread(void) { return &prefetcher_of_thread; }
    """
    const int PREFETCH_LINE
    ctypedef struct prefetcher:
        int64_t now, count, line, rate, credit
    prefetcher* this_thread()
    void prefetch_add(prefetcher* s, const float* at, int64_t apart, int64_t runs, int64_t lines)
    void prefetch_spread(prefetcher* s, int64_t products)
    void prefetch_step(prefetcher* s, int64_t products)


cdef void prefetch(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # The calls that follow on this thread ask for the arrays, for those of the next group only if that is the thread's.
    cdef const Prefetch* a = <const Prefetch*> args
    cdef const PrefetchedArray* arrays = <const PrefetchedArray*> (a + 1)
    cdef prefetcher* s = this_thread()
    cdef int64_t i
    memset(s, 0, sizeof(s[0]))
    s.rate = a.rate
    for i in range(a.array_count if a.group + 1 < a.end else a.own):
        prefetch_add(s, arrays[i].start, 0, 1, arrays[i].lines)
