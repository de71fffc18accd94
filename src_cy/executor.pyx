# cython: boundscheck=False, wraparound=False, cdivision=True
"""Walks a list of kernel calls with a persistent team of threads, without the GIL.

The caller is thread 0 of its own run; threads 1.. are workers that no one but this module knows and that never touch
Python. Within a run there is no lock: each thread has an equal share of a call's tasks, takes some of them at a
time, and then helps others with theirs; so a thread meets the same images in one call after the other, and none waits
long for another. A call starts when the last thread has left the one before it. Who waits spins for a moment and then
sleeps on a condition variable. Workers are never ended: asleep they cost nothing, and the process may exit over them.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

import numpy as np

cdef extern from "Python.h":
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t i)

cdef extern from "platform.h" nogil:
    ctypedef struct ne_mutex:
        pass
    ctypedef struct ne_condition:
        pass
    ctypedef struct ne_start:
        void (*function)(void *) noexcept nogil
        void *argument

    int64_t ne_load(int64_t *word)
    void ne_store(int64_t *word, int64_t value)
    int64_t ne_fetch_add(int64_t *word, int64_t n)
    int ne_swap(int64_t *word, int64_t *seen, int64_t value)
    void ne_pause()
    uint64_t ne_fp_get()
    void ne_fp_set(uint64_t word)
    void ne_fp_fast()
    void ne_mutex_init(ne_mutex *mutex)
    void ne_lock(ne_mutex *mutex)
    void ne_unlock(ne_mutex *mutex)
    void ne_condition_init(ne_condition *condition)
    void ne_sleep(ne_condition *condition, ne_mutex *mutex)
    void ne_wake_all(ne_condition *condition)
    int64_t ne_process()
    int64_t ne_now()
    void ne_yield()
    int ne_thread(ne_start *start)

cdef enum:
    MOST_THREADS = 1024
    SPIN_CHECKS = 32
    SPIN_NANOSECONDS = 2000000
    SPIN_CROWDED = 5000
    SHARES = 8
    LINE = 128
    TASKS = 0x7fffffff

ctypedef void (*Kernel)(const int64_t *args, int64_t begin, int64_t end, int64_t thread) noexcept nogil


cdef struct Call:
    Kernel function
    const int64_t *args
    int64_t tasks
    int64_t grain


include "composite_calls.pxi"


cdef struct Gate:
    # A word that one thread moves forward and others wait for, on cache lines of its own.
    char before[LINE]
    int64_t word
    char between[LINE]
    int64_t sleepers
    ne_mutex mutex
    ne_condition condition


cdef struct Worker:
    Gate start
    ne_start entry
    Team *team
    int64_t index


cdef struct Share:
    # How far a thread's share of a call's tasks has been taken: the call's tag, and behind it the next task.
    char before[LINE]
    int64_t word


cdef struct Team:
    ne_mutex turn
    int64_t process
    int64_t workers
    Worker *worker[MOST_THREADS]
    # The run under way, written by its caller before the workers' gates open.
    const Call *calls
    int64_t first
    int64_t last
    int64_t threads
    int64_t spin
    double *seconds
    int64_t since
    # Moved by everyone during a run.
    Gate phase
    Share share[MOST_THREADS]
    char pad_arrived[LINE]
    int64_t arrived
    char pad_end[LINE]


cdef Team *the_team = NULL


cdef void gate_init(Gate *gate) noexcept nogil:
    gate.word = 0
    gate.sleepers = 0
    ne_mutex_init(&gate.mutex)
    ne_condition_init(&gate.condition)


cdef void gate_wait(Gate *gate, int64_t old, int64_t spin) noexcept nogil:
    """Return once the gate's word is no longer ``old``: spin for ``spin`` nanoseconds, then sleep."""
    cdef int64_t end = 0, now
    cdef int i
    while spin > 0:
        for i in range(SPIN_CHECKS):
            if ne_load(&gate.word) != old:
                return
            ne_pause()
        now = ne_now()
        if end == 0:
            end = now + spin
        elif now >= end:
            break
        ne_yield()  # the thread waited for may want this very CPU
    ne_lock(&gate.mutex)
    ne_fetch_add(&gate.sleepers, 1)
    while ne_load(&gate.word) == old:
        ne_sleep(&gate.condition, &gate.mutex)
    ne_fetch_add(&gate.sleepers, -1)
    ne_unlock(&gate.mutex)


cdef void gate_open(Gate *gate) noexcept nogil:
    """Move the gate's word forward and wake whoever sleeps.

    A waiter counts itself as sleeper before it looks at the word again, the opener moves the word before it looks at
    the sleepers; as both are sequentially consistent, one of them sees the other.
    """
    ne_store(&gate.word, gate.word + 1)
    if ne_load(&gate.sleepers) > 0:
        ne_lock(&gate.mutex)
        ne_wake_all(&gate.condition)
        ne_unlock(&gate.mutex)


cdef inline int64_t take(Share *share, int64_t tag, int64_t low, int64_t high, int64_t grain) noexcept nogil:
    """The first of the next ``grain`` tasks of a share, ``low..high`` of the call with the tag; ``high`` if none is
    left. Who comes first begins the share anew, for no thread is in an earlier call any more."""
    cdef int64_t seen = ne_load(&share.word), at
    while True:
        at = seen & TASKS if seen >> 32 == tag else low
        if at >= high or ne_swap(&share.word, &seen, tag << 32 | min(at + grain, high)):
            return min(at, high)


cdef inline bint for_one(const Call *call) noexcept nogil:
    """Whether one thread takes all tasks of the call at once."""
    return call.tasks <= 1 or call.grain >= call.tasks


cdef inline int64_t segment_end(const Call *calls, int64_t call, int64_t last) noexcept nogil:
    """End of the calls from ``call`` on that one thread does in a row: between calls for one there is no barrier."""
    cdef int64_t end = call + 1
    if for_one(&calls[call]):
        while end < last and for_one(&calls[end]):
            end += 1
    return end


cdef void run_alone(const Call *calls, int64_t first, int64_t last, double *seconds) noexcept nogil:
    cdef int64_t call, start = 0, now
    if seconds != NULL:
        start = ne_now()
    for call in range(first, last):
        if calls[call].tasks > 0:
            calls[call].function(calls[call].args, 0, calls[call].tasks, 0)
        if seconds != NULL:
            now = ne_now()
            seconds[call - first] = 1e-9 * <double>(now - start)
            start = now


cdef inline void stamp(Team *team, int64_t call) noexcept nogil:
    """Count the time since the last stamp for ``call``; whoever stamps next has seen it, by the barrier between."""
    cdef int64_t now = ne_now()
    team.seconds[call - team.first] += 1e-9 * <double>(now - team.since)
    team.since = now


cdef void take_part(Team *team, int64_t thread) noexcept nogil:
    """Do this thread's share of the team's run; thread 0 returns when the whole run is done."""
    cdef const Call *calls = team.calls
    cdef int64_t call = team.first, last = team.last, threads = team.threads, spin = team.spin
    cdef int64_t phase = ne_load(&team.phase.word)
    cdef int64_t end, begin, grain, tasks, step, tag, turn, owner, low, high
    while call < last:
        end = segment_end(calls, call, last)
        tasks = calls[call].tasks
        tag = (phase + 1) & TASKS
        if for_one(&calls[call]):
            if take(&team.share[0], tag, 0, 1, 1) == 0:
                for step in range(call, end):
                    if calls[step].tasks > 0:
                        calls[step].function(calls[step].args, 0, calls[step].tasks, thread)
                    if team.seconds != NULL:
                        stamp(team, step)
        else:
            grain = calls[call].grain
            if grain <= 0:
                grain = tasks // (threads * SHARES)
                grain = grain if grain > 0 else 1
            for turn in range(threads):
                owner = (thread + turn) % threads
                low, high = tasks * owner // threads, tasks * (owner + 1) // threads
                begin = take(&team.share[owner], tag, low, high, grain)
                while begin < high:
                    calls[call].function(calls[call].args, begin, min(begin + grain, high), thread)
                    begin = take(&team.share[owner], tag, low, high, grain)
        if ne_fetch_add(&team.arrived, 1) == threads - 1:
            team.arrived = 0
            if team.seconds != NULL:
                stamp(team, end - 1)
            gate_open(&team.phase)
        elif end < last or thread == 0:
            gate_wait(&team.phase, phase, spin)
        phase += 1
        call = end


cdef void work(void *raw) noexcept nogil:
    """A worker's life."""
    cdef Worker *worker = <Worker *>raw
    cdef int64_t seen = 0
    ne_fp_fast()
    while True:
        gate_wait(&worker.start, seen, worker.team.spin)
        seen += 1
        take_part(worker.team, worker.index)


cdef Team *team_of(int64_t threads) except NULL:
    """The process's team, with workers enough for ``threads``; a process that was forked makes its own."""
    global the_team
    cdef Team *team = the_team
    cdef Worker *worker
    cdef int error
    if team == NULL or team.process != ne_process():
        team = <Team *>calloc(1, sizeof(Team))
        if team == NULL:
            raise MemoryError("no memory for the team of threads")
        ne_mutex_init(&team.turn)
        gate_init(&team.phase)
        team.process = ne_process()
        the_team = team
    while team.workers < threads - 1:
        worker = <Worker *>calloc(1, sizeof(Worker))
        if worker == NULL:
            raise MemoryError(f"no memory for thread {team.workers + 2} of {threads}")
        gate_init(&worker.start)
        worker.team = team
        worker.index = team.workers + 1
        worker.entry.function = work
        worker.entry.argument = worker
        error = ne_thread(&worker.entry)
        if error:
            free(worker)
            raise RuntimeError(
                f"the system refused to start thread {team.workers + 2} of {threads} (error {error}): "
                "use fewer with normengine.set_num_threads"
            )
        team.worker[team.workers] = worker
        team.workers += 1
    return team


cdef void run_team(
    Team *team, const Call *calls, int64_t first, int64_t last, int64_t threads, int64_t spin, double *seconds
) noexcept nogil:
    cdef int64_t i
    ne_lock(&team.turn)
    team.calls = calls
    team.first = first
    team.last = last
    team.threads = threads
    team.spin = spin
    team.seconds = seconds
    team.since = ne_now() if seconds != NULL else 0
    for i in range(threads - 1):
        gate_open(&team.worker[i].start)
    take_part(team, 0)
    ne_unlock(&team.turn)


def all_writeable(arrays) -> bool:
    """Whether all of the arrays, which are C-contiguous, may be written to."""
    cdef Py_buffer view
    for array in arrays:
        try:
            PyObject_GetBuffer(array, &view, PyBUF_WRITABLE)
        except (BufferError, ValueError):
            return False
        PyBuffer_Release(&view)
    return True


def holds_same(list holders, list sizes, list seen) -> bool:
    """Whether dictionaries and lists hold the objects ``seen``, one after the other, each as many as in ``sizes``; of
    a dictionary each key comes before its value. Raises TypeError for any other holder.
    """
    cdef Py_ssize_t size, k, at, begin = 0, most = len(seen)
    cdef PyObject *key
    cdef PyObject *value
    for holder, number in zip(holders, sizes):
        size = number
        if isinstance(holder, dict):
            if PyDict_Size(holder) != size or begin + 2 * size > most:
                return False
            at = 0
            while PyDict_Next(holder, &at, &key, &value):
                if key != PyList_GET_ITEM(seen, begin) or value != PyList_GET_ITEM(seen, begin + 1):
                    return False
                begin += 2
        else:
            if len(<list?>holder) != size or begin + size > most:
                return False
            for k in range(size):
                if PyList_GET_ITEM(holder, k) != PyList_GET_ITEM(seen, begin + k):
                    return False
            begin += size
    return True


def data_address(array) -> int:
    """The address of the first element of a C-contiguous array."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    address = <size_t>view.buf
    PyBuffer_Release(&view)
    return address


cdef class CompiledExecutor:
    """``normengine.runtime.executor.Executor``, compiled. Threads do not spin in teams of more than ``cpus``."""

    cdef Call *calls
    cdef Py_ssize_t size
    cdef int64_t cpus

    def __cinit__(self, calls, int64_t cpus):
        cdef Py_ssize_t i
        self.cpus = cpus
        if calls.ndim != 2 or calls.shape[1] != 4 or calls.dtype != np.int64:
            raise ValueError(f"calls must be int64 of shape (n, 4), got {calls.dtype} of shape {calls.shape}")
        self.size = calls.shape[0]
        self.calls = <Call *>calloc(max(self.size, 1), sizeof(Call))
        if self.calls == NULL:
            raise MemoryError(f"no memory for {self.size} calls")
        for i in range(self.size):
            function, args, tasks, grain = calls[i].tolist()
            if tasks > TASKS:
                raise ValueError(f"call {i} has {tasks} tasks, at most {TASKS} can be shared out")
            self.calls[i].function = <Kernel><size_t>function
            self.calls[i].args = <const int64_t *><size_t>args
            self.calls[i].tasks = tasks
            self.calls[i].grain = grain

    def __dealloc__(self):
        free(self.calls)

    def run(self, int64_t first, int64_t last, int64_t threads, counters):
        """Do the calls ``first..last-1`` in order, the tasks of each shared by ``threads`` threads; then add 1 to the
        int64 at each of the addresses in ``counters``."""
        cdef Py_buffer view
        cdef Py_ssize_t i
        self._run(first, last, threads, NULL)
        PyObject_GetBuffer(counters, &view, PyBUF_SIMPLE)
        for i in range(view.len // <Py_ssize_t>sizeof(int64_t)):
            (<int64_t **>view.buf)[i][0] += 1
        PyBuffer_Release(&view)

    def profile(self, int64_t first, int64_t last, int64_t threads):
        """As :meth:`run`; returns the seconds that each call took, float64 of shape (last - first,)."""
        seconds = np.zeros(max(last - first, 0), np.float64)
        self._run(first, last, threads, <double *><size_t>seconds.ctypes.data)
        return seconds

    cdef int _run(self, int64_t first, int64_t last, int64_t threads, double *seconds) except -1:
        cdef Team *team
        cdef uint64_t before
        cdef int64_t spin
        if not 0 <= first <= last <= self.size:
            raise ValueError(f"calls {first}..{last} are not within the {self.size} of this executor")
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"threads must be between 1 and {MOST_THREADS}, got {threads}")
        if first == last:
            return 0
        if threads == 1 or (for_one(&self.calls[first]) and segment_end(self.calls, first, last) == last):
            with nogil:
                before = ne_fp_get()
                ne_fp_fast()
                run_alone(self.calls, first, last, seconds)
                ne_fp_set(before)
            return 0
        team = team_of(threads)
        spin = SPIN_NANOSECONDS if threads <= self.cpus else SPIN_CROWDED
        with nogil:
            before = ne_fp_get()
            ne_fp_fast()
            run_team(team, self.calls, first, last, threads, spin, seconds)
            ne_fp_set(before)
        return 0
