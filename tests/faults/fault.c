/*
 * A library to be preloaded into the program, which lets chosen calls fail: the Nth allocation, the Nth
 * new descriptor, and so on, in the program and in every library that it uses.
 *
 * FAULTS_FILE names a file that holds a struct faults. It is mapped here and by whoever chooses, so that
 * calls can be counted and faults begun and ended while the program runs. With FAULTS_TRACE each call
 * that fails is told to that file with the addresses it came from.
 *
 * What fails does so before the real call, as if the system had refused it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the order of KINDS in faults.py. */
enum kind {
    KIND_MALLOC, /* ENOMEM */
    KIND_OPEN,   /* files, folders, sockets of our own, epolls, duplicates: EMFILE */
    KIND_ACCEPT, /* EMFILE */
    KIND_RING,   /* ENOMEM */
    KIND_THREAD, /* EAGAIN */
    KIND_EPOLL,  /* watching another descriptor: ENOMEM */
    KIND_COUNT
};

/* As faults.py writes and reads it. */
struct faults {
    _Atomic uint64_t first[KIND_COUNT]; /* calls of a kind are numbered from 1 on; 0: none fails */
    _Atomic uint64_t last[KIND_COUNT];
    _Atomic uint64_t calls[KIND_COUNT];
    _Atomic uint64_t failed[KIND_COUNT];
};

#define PRELOADED __attribute__((visibility("default")))

static struct faults *faults; /* NULL: not yet */
static int trace_fd = -1;

/* While this thread is in a call that a sanitizer makes for itself. */
static __thread bool is_exempt __attribute__((tls_model("initial-exec")));

/* The code of a library. Empty where it is not loaded. */
struct code {
    const char *name;
    uintptr_t begin, end;
};

/* Uses what malloc() returns without a look at it (2.5.4, from seccomp_rule_add() to seccomp_load()), and
 * ends the process by a signal: nothing that a caller could do about it. It is used once, before the
 * service is ready. */
static struct code seccomp = {"/libseccomp.", 0, 0};

/* Opens what is loaded to name the functions of a leak, and counts as leaks those it has no names for. */
static struct code sanitizer = {"/libasan.", 0, 0};

static int find_code(struct dl_phdr_info *library, size_t bytes, void *context)
{
    struct code *code = context;
    (void)bytes;
    if (!strstr(library->dlpi_name, code->name))
        return 0;
    for (size_t i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        code->begin = library->dlpi_addr + part->p_vaddr;
        code->end = code->begin + part->p_memsz;
    }
    return 1;
}

static bool is_in(const struct code *code, const void *caller)
{
    return (uintptr_t)caller >= code->begin && (uintptr_t)caller < code->end;
}

#define TRACE_DEPTH 24

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_FILE"), *trace = getenv("FAULTS_TRACE");
    void *frames[TRACE_DEPTH];
    if (trace) {
        trace_fd = (int)syscall(SYS_openat, AT_FDCWD, trace,
                                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        backtrace(frames, TRACE_DEPTH); /* loads what it needs, with allocations */
    }
    if (!path)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *mapped = MAP_FAILED;
    if (fd >= 0)
        mapped = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        abort();
    close(fd);
    dl_iterate_phdr(find_code, &seccomp);
    dl_iterate_phdr(find_code, &sanitizer);
    faults = mapped;
}

static void tell(enum kind kind)
{
    static const char *const names[KIND_COUNT] = {"malloc", "open",   "accept",
                                                  "ring",   "thread", "epoll"};
    void *frames[TRACE_DEPTH];
    char text[64] = "# ";
    strcat(text, names[kind]);
    strcat(text, "\n");
    if (write(trace_fd, text, strlen(text)) < 0)
        return;
    backtrace_symbols_fd(frames, backtrace(frames, TRACE_DEPTH), trace_fd);
}

/* What loading libgcc for backtrace() costs is no leak of the program's. */
PRELOADED const char *__lsan_default_suppressions(void);
PRELOADED const char *__lsan_default_suppressions(void)
{
    return "leak:dl_open_worker_begin\n";
}

static bool fails(enum kind kind)
{
    if (!faults || is_exempt)
        return false;
    uint64_t number = atomic_fetch_add(&faults->calls[kind], 1) + 1;
    if (number < atomic_load(&faults->first[kind]) || number > atomic_load(&faults->last[kind]))
        return false;
    atomic_fetch_add(&faults->failed[kind], 1);
    if (trace_fd >= 0)
        tell(kind);
    return true;
}

/* The function of this name behind this library: of a sanitizer, or of the C library. */
#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (!real)                                                                                     \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                                        \
    if (!real)                                                                                     \
        abort();

/* ---- memory ---- */

/* What looking for the real functions allocates. It is never given back. */
static char early[16384] __attribute__((aligned(16)));
static size_t early_bytes;
static bool is_looking;

static void *allocate_early(size_t bytes)
{
    size_t at = early_bytes;
    early_bytes += (bytes + 15) & ~(size_t)15;
    if (early_bytes > sizeof(early))
        abort();
    return early + at;
}

static bool is_early(const void *memory)
{
    return (const char *)memory >= early && (const char *)memory < early + sizeof(early);
}

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void (*free)(void *);
} memory;

/* False: this is called by itself. The first call comes before there is a second thread. */
static bool look(void)
{
    if (memory.free)
        return true;
    if (is_looking)
        return false;
    is_looking = true;
    *(void **)&memory.malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&memory.calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&memory.realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&memory.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&memory.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&memory.free = dlsym(RTLD_NEXT, "free");
    is_looking = false;
    return true;
}

/* Only in the functions that stand in the place of others: these look at who called them. */
#define REFUSES_MEMORY() (!is_in(&seccomp, __builtin_return_address(0)) && fails(KIND_MALLOC))
#define REFUSES_FILE() (!is_in(&sanitizer, __builtin_return_address(0)) && fails(KIND_OPEN))

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

PRELOADED void *malloc(size_t bytes)
{
    if (!look())
        return allocate_early(bytes);
    return REFUSES_MEMORY() ? no_memory() : memory.malloc(bytes);
}

PRELOADED void *calloc(size_t count, size_t bytes)
{
    if (!look())
        return allocate_early(count * bytes);
    return REFUSES_MEMORY() ? no_memory() : memory.calloc(count, bytes);
}

PRELOADED void *realloc(void *old, size_t bytes)
{
    if (!look() || is_early(old))
        abort();
    return REFUSES_MEMORY() ? no_memory() : memory.realloc(old, bytes);
}

PRELOADED void *aligned_alloc(size_t alignment, size_t bytes)
{
    look();
    return REFUSES_MEMORY() ? no_memory() : memory.aligned_alloc(alignment, bytes);
}

PRELOADED int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
    look();
    return REFUSES_MEMORY() ? ENOMEM : memory.posix_memalign(ret_memory, alignment, bytes);
}

PRELOADED void free(void *old)
{
    if (old && !is_early(old) && look())
        memory.free(old);
}

/* ---- descriptors ---- */

static int no_descriptor(void)
{
    errno = EMFILE;
    return -1;
}

/* The mode, which is there if a file may be made. */
static mode_t mode_of(int flags, va_list arguments)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    PRELOADED int name(const char *path, int flags, ...)                                           \
    {                                                                                              \
        va_list arguments;                                                                         \
        REAL(name)                                                                                 \
        va_start(arguments, flags);                                                                \
        mode_t mode = mode_of(flags, arguments);                                                   \
        va_end(arguments);                                                                         \
        return REFUSES_FILE() ? no_descriptor() : real(path, flags, mode);                         \
    }

#define OPENAT(name)                                                                               \
    PRELOADED int name(int folder_fd, const char *path, int flags, ...)                            \
    {                                                                                              \
        va_list arguments;                                                                         \
        REAL(name)                                                                                 \
        va_start(arguments, flags);                                                                \
        mode_t mode = mode_of(flags, arguments);                                                   \
        va_end(arguments);                                                                         \
        return REFUSES_FILE() ? no_descriptor() : real(folder_fd, path, flags, mode);              \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* The program asks for this one by name where there is one; this C library has none. */
PRELOADED int openat2(int folder_fd, const char *path, const struct open_how *how, size_t bytes);
PRELOADED int openat2(int folder_fd, const char *path, const struct open_how *how, size_t bytes)
{
    if (fails(KIND_OPEN))
        return no_descriptor();
    return (int)syscall(SYS_openat2, folder_fd, path, how, bytes);
}

PRELOADED int fcntl(int fd, int command, ...)
{
    va_list arguments;
    REAL(fcntl)
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails(KIND_OPEN))
        return no_descriptor();
    return real(fd, command, argument);
}

PRELOADED int dup(int fd)
{
    REAL(dup)
    return fails(KIND_OPEN) ? no_descriptor() : real(fd);
}

PRELOADED int socket(int domain, int type, int protocol)
{
    REAL(socket)
    return fails(KIND_OPEN) ? no_descriptor() : real(domain, type, protocol);
}

PRELOADED int pipe2(int fds[2], int flags)
{
    REAL(pipe2)
    return fails(KIND_OPEN) ? no_descriptor() : real(fds, flags);
}

PRELOADED int eventfd(unsigned count, int flags)
{
    REAL(eventfd)
    return fails(KIND_OPEN) ? no_descriptor() : real(count, flags);
}

PRELOADED int epoll_create1(int flags)
{
    REAL(epoll_create1)
    return fails(KIND_OPEN) ? no_descriptor() : real(flags);
}

PRELOADED int accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    REAL(accept4)
    return fails(KIND_ACCEPT) ? no_descriptor() : real(fd, address, bytes, flags);
}

/* For whoever stands in the place of accept4() itself, and has to ask the system. */
PRELOADED long syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    REAL(syscall)
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_accept4 && fails(KIND_ACCEPT))
        return no_descriptor();
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- the rest ---- */

struct io_uring;
struct io_uring_params;
int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *params);

PRELOADED int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                         struct io_uring_params *params)
{
    REAL(io_uring_queue_init_params)
    return fails(KIND_RING) ? -ENOMEM : real(entries, ring, params);
}

PRELOADED int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                             void *(*run)(void *), void *argument)
{
    REAL(pthread_create)
    return fails(KIND_THREAD) ? EAGAIN : real(thread, attributes, run, argument);
}

/* Sanitizers ask this of each new thread, and cannot do without an answer. */
PRELOADED int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    REAL(pthread_getattr_np)
    is_exempt = true;
    int rc = real(thread, attributes);
    is_exempt = false;
    return rc;
}

PRELOADED int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl)
    if (operation != EPOLL_CTL_ADD || !fails(KIND_EPOLL))
        return real(epoll_fd, operation, fd, event);
    errno = ENOMEM;
    return -1;
}
