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


cdef struct PrefetchArguments:
    # The number of a group and where those of the thread end; lines for the multiply-adds that follow; how many arrays,
    # each with where it is and its lines, of which the first `own` are this group's and the others the next one's.
    int64_t group, end, rate, own, count


cdef void prefetch(const int64_t* args, int64_t begin, int64_t end, int64_t thread) noexcept nogil:
    # The calls that follow on this thread ask for the arrays, for those of the next group only if that is the thread's.
    cdef const PrefetchArguments* p = <const PrefetchArguments*> args
    cdef const int64_t* arrays = args + 5
    cdef prefetcher* s = this_thread()
    cdef int64_t i
    memset(s, 0, sizeof(s[0]))
    s.rate = p.rate
    for i in range(p.count if p.group + 1 < p.end else p.own):
        prefetch_add(s, array(arrays, 2 * i), 0, 1, arrays[2 * i + 1])
