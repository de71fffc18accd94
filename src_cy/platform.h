/* What the executor needs of the operating system and the compiler: threads, locks, atomics, a clock, and the
   processor's flush-to-zero mode. POSIX and Windows; GCC, Clang and MSVC; x86-64 and 64-bit Arm, and others without
   flush-to-zero. */
#ifndef NORMENGINE_PLATFORM_H
#define NORMENGINE_PLATFORM_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#define NE_X86_64 1
#include <immintrin.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#define NE_ARM64 1
#endif

/* Sequentially consistent operations on one 64-bit word. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
static __inline int64_t ne_load(int64_t *word) { return _InterlockedOr64((volatile __int64 *)word, 0); }
static __inline void ne_store(int64_t *word, int64_t value) { _InterlockedExchange64((volatile __int64 *)word, value); }
static __inline int64_t ne_fetch_add(int64_t *word, int64_t n) { return _InterlockedExchangeAdd64((volatile __int64 *)word, n); }
static __inline int ne_swap(int64_t *word, int64_t *seen, int64_t value)
{
    const int64_t before = _InterlockedCompareExchange64((volatile __int64 *)word, value, *seen);
    const int swapped = before == *seen;
    *seen = before;
    return swapped;
}
#else
static inline int64_t ne_load(int64_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline void ne_store(int64_t *word, int64_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }
static inline int64_t ne_fetch_add(int64_t *word, int64_t n) { return __atomic_fetch_add(word, n, __ATOMIC_SEQ_CST); }
/* Stores `value` if the word is still `*seen`, and says whether; `*seen` becomes what the word was. */
static inline int ne_swap(int64_t *word, int64_t *seen, int64_t value)
{
    return __atomic_compare_exchange_n(word, seen, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#endif

/* Tells the processor that this is a waiting loop. */
static inline void ne_pause(void)
{
#if defined(NE_X86_64)
    _mm_pause();
#elif defined(NE_ARM64) && defined(_MSC_VER) && !defined(__clang__)
    __yield();
#elif defined(NE_ARM64)
    __asm__ __volatile__("isb" ::: "memory"); /* "yield" does nothing on most cores; "isb" waits about as x86's pause */
#endif
}

/* The floating-point control word. Denormal results and operands become zero where ne_fp_fast() is in force. */
static inline uint64_t ne_fp_get(void)
{
#if defined(NE_X86_64)
    return _mm_getcsr();
#elif defined(NE_ARM64) && defined(_MSC_VER) && !defined(__clang__)
    return (uint64_t)_ReadStatusReg(ARM64_FPCR);
#elif defined(NE_ARM64)
    uint64_t word;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(word));
    return word;
#else
    return 0;
#endif
}

static inline void ne_fp_set(uint64_t word)
{
#if defined(NE_X86_64)
    _mm_setcsr((unsigned int)word);
#elif defined(NE_ARM64) && defined(_MSC_VER) && !defined(__clang__)
    _WriteStatusReg(ARM64_FPCR, (__int64)word);
#elif defined(NE_ARM64)
    __asm__ __volatile__("msr fpcr, %0" : : "r"(word));
#else
    (void)word;
#endif
}

static inline void ne_fp_fast(void)
{
#if defined(NE_X86_64)
    ne_fp_set(ne_fp_get() | 0x8040); /* flush to zero, denormals are zero */
#elif defined(NE_ARM64)
    ne_fp_set(ne_fp_get() | ((uint64_t)1 << 24));
#endif
}

#if defined(_WIN32)

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

typedef SRWLOCK ne_mutex;
typedef CONDITION_VARIABLE ne_condition;

static inline void ne_mutex_init(ne_mutex *m) { InitializeSRWLock(m); }
static inline void ne_lock(ne_mutex *m) { AcquireSRWLockExclusive(m); }
static inline void ne_unlock(ne_mutex *m) { ReleaseSRWLockExclusive(m); }
static inline void ne_condition_init(ne_condition *c) { InitializeConditionVariable(c); }
static inline void ne_sleep(ne_condition *c, ne_mutex *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static inline void ne_wake_all(ne_condition *c) { WakeAllConditionVariable(c); }
static inline int64_t ne_process(void) { return (int64_t)GetCurrentProcessId(); }
static inline void ne_yield(void) { SwitchToThread(); }

/* Nanoseconds of a clock that only goes forward. */
static inline int64_t ne_now(void)
{
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (int64_t)((double)count.QuadPart * (1e9 / (double)frequency.QuadPart));
}

typedef struct {
    void (*function)(void *);
    void *argument;
} ne_start;

static DWORD WINAPI ne_thread_main(LPVOID raw)
{
    ne_start *start = (ne_start *)raw;
    start->function(start->argument);
    return 0;
}

/* Starts a thread that nobody waits for; 0, or the system's error number. `start` must outlive the thread. */
static inline int ne_thread(ne_start *start)
{
    HANDLE handle = CreateThread(NULL, 4 << 20, ne_thread_main, start, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (handle == NULL) return (int)GetLastError();
    CloseHandle(handle);
    return 0;
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

typedef pthread_mutex_t ne_mutex;
typedef pthread_cond_t ne_condition;

static inline void ne_mutex_init(ne_mutex *m) { pthread_mutex_init(m, NULL); }
static inline void ne_lock(ne_mutex *m) { pthread_mutex_lock(m); }
static inline void ne_unlock(ne_mutex *m) { pthread_mutex_unlock(m); }
static inline void ne_condition_init(ne_condition *c) { pthread_cond_init(c, NULL); }
static inline void ne_sleep(ne_condition *c, ne_mutex *m) { pthread_cond_wait(c, m); }
static inline void ne_wake_all(ne_condition *c) { pthread_cond_broadcast(c); }
static inline int64_t ne_process(void) { return (int64_t)getpid(); }
static inline void ne_yield(void) { sched_yield(); }

/* Nanoseconds of a clock that only goes forward. */
static inline int64_t ne_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef struct {
    void (*function)(void *);
    void *argument;
} ne_start;

static void *ne_thread_main(void *raw)
{
    ne_start *start = (ne_start *)raw;
    start->function(start->argument);
    return NULL;
}

/* Starts a thread that nobody waits for; 0, or the system's error number. `start` must outlive the thread. The
   process's signals are handled by its other threads, all but those that a fault in the thread itself raises. */
static inline int ne_thread(ne_start *start)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t blocked, before;
    int error = pthread_attr_init(&attributes);
    if (error) return error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 4 << 20);
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    error = pthread_create(&thread, &attributes, ne_thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

#endif
#endif
