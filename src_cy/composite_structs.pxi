# Written by tools/make_structs.py from normengine/runtime/composite_calls.py: change the records there.

cdef enum:
    MOVING = 0
    OWN = 1
    ACCUMULATE = 2
    SHARE_END = 3


cdef struct Stage:
    Kernel function
    int64_t tasks, first


cdef struct Patch:
    int64_t slot, kind, group_stride, chunk_stride


cdef struct DepthFirst:
    const Stage* stages
    int64_t stage_count
    const Patch* patches
    int64_t patch_count
    const int64_t* template
    int64_t slots, groups, chunks, memory, threads, stride
    double* seconds


cdef struct Part:
    Kernel function
    const int64_t* args
    int64_t first, tasks


cdef struct Merged:
    const Part* parts
    int64_t part_count
    double* seconds


STRUCTS = {
    "Stage": sizeof(Stage),
    "Patch": sizeof(Patch),
    "DepthFirst": sizeof(DepthFirst),
    "Part": sizeof(Part),
    "Merged": sizeof(Merged),
}
