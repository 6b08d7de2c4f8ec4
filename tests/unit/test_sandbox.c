/*
 * What the process gives up is gone: each attempt is made in a child that has entered the same sandbox
 * as the service, by a thread that was there before, with the same attempt made outside beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/sandbox.h"
#include "tests/support/tempdir.h"
#include "wal/base.h"

#define STRANGE 250 /* an exit status that is no errno */

static char *outside, *data, *beside;

static char *path_of(const char *folder, const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

/* ---- attempts: 0 or an errno ---- */

static int answer(long rc)
{
    return rc < 0 ? errno : 0;
}

static int read_outside(void)
{
    return answer(open("/etc/passwd", O_RDONLY));
}

static int write_outside(void)
{
    return answer(open(path_of(outside, "theirs"), O_WRONLY));
}

static int make_outside(void)
{
    return answer(open(path_of(outside, "new"), O_WRONLY | O_CREAT, 0600));
}

static int remove_outside(void)
{
    return answer(unlinkat(AT_FDCWD, path_of(outside, "doomed"), 0));
}

static int list_outside(void)
{
    return answer(open("/", O_RDONLY | O_DIRECTORY));
}

static int leave_by_dots(void)
{
    return answer(open(path_of(data, "../theirs"), O_RDONLY));
}

static int leave_by_link(void)
{
    return answer(open(path_of(data, "link"), O_RDONLY));
}

static int move_outside(void)
{
    return answer(
        renameat2(AT_FDCWD, path_of(data, "own"), AT_FDCWD, path_of(outside, "moved"), 0));
}

static int make_link(void)
{
    return answer(symlink("/etc", path_of(data, "new-link")));
}

static int execute(void)
{
    char *const nothing[] = {NULL};
    pid_t child = (pid_t)syscall(SYS_fork);
    if (child < 0)
        return errno;
    if (child == 0) {
        execve("/bin/true", nothing, nothing);
        _exit(errno);
    }
    int status;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static int execute_here(void)
{
    char *const nothing[] = {NULL};
    execve("/bin/true", nothing, nothing);
    return errno;
}

static int make_socket(void)
{
    return answer(socket(AF_INET, SOCK_STREAM, 0));
}

static int trace(void)
{
    return answer(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int make_ring(void)
{
    struct io_uring_params parameters = {0};
    return answer(syscall(SYS_io_uring_setup, 4, &parameters));
}

static int make_code(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : 0;
}

static int turn_into_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? STRANGE : answer(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int signal_others(void)
{
    return answer(kill(getppid(), 0));
}

static int change_limits(void)
{
    struct rlimit none = {0, 0};
    return answer(setrlimit(RLIMIT_CORE, &none));
}

static int unshare_all(void)
{
    return answer(unshare(CLONE_NEWUSER));
}

static int become_dumpable(void)
{
    return answer(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

/* What serving takes goes on. */
static int work_inside(void)
{
    char *made = path_of(data, "made"), *moved = path_of(data, "folder/moved");
    int fd = open(made, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0 || ftruncate(fd, 0) < 0)
        return errno;
    close(fd);
    if (mkdirat(AT_FDCWD, path_of(data, "folder"), 0700) < 0 ||
        renameat2(AT_FDCWD, made, AT_FDCWD, moved, RENAME_NOREPLACE) < 0 ||
        unlinkat(AT_FDCWD, moved, 0) < 0 ||
        unlinkat(AT_FDCWD, path_of(data, "folder"), AT_REMOVEDIR) < 0)
        return errno;
    return 0;
}

static int read_certificate(void)
{
    return answer(open(path_of(beside, "certificate"), O_RDONLY));
}

static int write_certificate(void)
{
    return answer(open(path_of(beside, "certificate"), O_WRONLY));
}

static int read_limits(void)
{
    struct rlimit limit;
    return answer(getrlimit(RLIMIT_NOFILE, &limit));
}

/* ---- a child in the sandbox ---- */

struct attempt {
    int (*body)(void);
    sem_t begin;
    int result;
};

static void *make_attempt(void *context)
{
    struct attempt *attempt = context;
    sem_wait(&attempt->begin);
    attempt->result = attempt->body();
    return NULL;
}

static struct sandbox_plan plan_of(enum sandbox_mode mode)
{
    static const char *readable[1];
    readable[0] = path_of(beside, "certificate");
    return (struct sandbox_plan){
        .mode = mode, .data = data, .readable = readable, .readable_count = 1};
}

/* The thread is made between the steps, as those of the service are. */
static int body_of_child(int (*body)(void), bool kill)
{
    struct sandbox sandbox;
    struct attempt attempt = {.body = body};
    pthread_t thread;
    const struct sandbox_plan plan = plan_of(SANDBOX_ON);
    sem_init(&attempt.begin, 0, 0);
    if (!sandbox_enter(&sandbox, &plan))
        return STRANGE;
    if (pthread_create(&thread, NULL, make_attempt, &attempt) != 0)
        return STRANGE;
    sandbox_note_ring(&sandbox, false, false);
    if (!sandbox_close(&sandbox, kill) || sandbox_missing(&sandbox))
        return STRANGE;
    sem_post(&attempt.begin);
    pthread_join(thread, NULL);
    return attempt.result;
}

static int in_child(int (*body)(void), bool inside, bool kill)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(inside ? body_of_child(body, kill) : body());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void is_there(int (*body)(void))
{
    assert_int_equal(in_child(body, true, false), 0);
}

/* Allowed before, and refused with this error in there. */
static void is_gone(int (*body)(void), int error)
{
    assert_int_equal(in_child(body, false, false), 0);
    assert_int_equal(in_child(body, true, false), error);
}

/* ---- */

static bool has_all(void)
{
    struct sandbox sandbox;
    sandbox_examine(&sandbox);
    for (unsigned i = SANDBOX_PRIVILEGES; i < SANDBOX_RING; i++) {
        if (!sandbox.layers[i].active) {
            print_message("skipped: %s: %s\n", sandbox.layers[i].name, sandbox.layers[i].text);
            return false;
        }
    }
    return true;
}

static void files_outside_are_out_of_reach(void **state)
{
    if (!has_all())
        skip();
    is_gone(read_outside, EACCES);
    is_gone(write_outside, EACCES);
    is_gone(make_outside, EACCES);
    is_gone(list_outside, EACCES);
    is_gone(leave_by_dots, EACCES);
    is_gone(leave_by_link, EACCES);
    assert_int_equal(in_child(remove_outside, true, false), EACCES);
    assert_int_equal(in_child(move_outside, true, false), EACCES);
    is_gone(make_link, ENOSYS);
}

static void what_serving_takes_is_there(void **state)
{
    if (!has_all())
        skip();
    is_there(work_inside);
    is_there(read_certificate);
    is_there(read_limits);
    is_gone(write_certificate, EACCES);
}

static void other_calls_are_refused(void **state)
{
    if (!has_all())
        skip();
    is_gone(execute, ENOSYS);
    assert_int_equal(in_child(execute_here, true, false), ENOSYS);
    is_gone(make_socket, ENOSYS);
    is_gone(trace, ENOSYS);
    is_gone(make_code, ENOSYS);
    is_gone(turn_into_code, ENOSYS);
    is_gone(signal_others, ENOSYS);
    is_gone(change_limits, ENOSYS);
    is_gone(become_dumpable, ENOSYS);
    assert_int_equal(in_child(unshare_all, true, false), ENOSYS);
    assert_int_equal(in_child(make_ring, true, false), ENOSYS);
}

static void a_call_too_many_ends_a_debug_build(void **state)
{
    if (!has_all())
        skip();
    assert_int_equal(in_child(make_socket, true, true), -SIGSYS);
    assert_int_equal(in_child(work_inside, true, true), 0);
}

/* ---- what is told ---- */

static int enter_switched_off(void)
{
    struct sandbox sandbox;
    const struct sandbox_plan plan = plan_of(SANDBOX_OFF);
    if (!sandbox_enter(&sandbox, &plan) || !sandbox_close(&sandbox, false))
        return 1;
    for (unsigned i = 0; i < SANDBOX_RING; i++) {
        if (sandbox.layers[i].active || !sandbox.layers[i].text[0])
            return 2;
    }
    return read_outside() != 0 || make_socket() != 0 ? 3 : 0;
}

static void switched_off_it_takes_nothing_and_claims_nothing(void **state)
{
    assert_int_equal(in_child(enter_switched_off, false, false), 0);
}

/* A directory that is not there stands for what Landlock refuses: told, and fatal only if demanded. */
static int enter_without_directory(void)
{
    struct sandbox sandbox;
    struct sandbox_plan plan = {.mode = SANDBOX_AUTO, .data = "/does/not/exist"};
    if (!sandbox_enter(&sandbox, &plan))
        return 1;
    if (sandbox.layers[SANDBOX_FILES].active || !sandbox.layers[SANDBOX_PRIVILEGES].active)
        return 2;
    plan.mode = SANDBOX_ON;
    return sandbox_enter(&sandbox, &plan) ? 3 : 0;
}

static void a_layer_that_is_missing_is_told_and_refused_on_demand(void **state)
{
    if (!has_all())
        skip();
    assert_int_equal(in_child(enter_without_directory, false, false), 0);

    struct sandbox sandbox;
    char names[96];
    sandbox_init(&sandbox, SANDBOX_ON);
    for (unsigned i = 0; i < SANDBOX_LAYERS; i++)
        sandbox_say(&sandbox.layers[i], true, "there");
    assert_null(sandbox_missing(&sandbox));
    sandbox_note_ring(&sandbox, true, false);
    assert_ptr_equal(sandbox_missing(&sandbox), &sandbox.layers[SANDBOX_RING]);
    sandbox_list(&sandbox, true, names, sizeof(names));
    assert_string_equal(names, "privileges,dumps,files,calls");
    sandbox_list(&sandbox, false, names, sizeof(names));
    assert_string_equal(names, "ring");
}

/* ---- privileges ---- */

static int look_at_privileges(void)
{
    char line[256];
    unsigned found = 0;
    int fd = open("/proc/self/status", O_RDONLY);
    FILE *status = fdopen(fd, "r");
    struct sandbox sandbox;
    const struct sandbox_plan plan = plan_of(SANDBOX_ON);
    if (!status || !sandbox_enter(&sandbox, &plan) || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 1;
    while (fgets(line, sizeof(line), status)) {
        found += strncmp(line, "NoNewPrivs:\t1", 13) == 0;
        found += strncmp(line, "CapEff:\t0000000000000000", 24) == 0;
        found += strncmp(line, "CapPrm:\t0000000000000000", 24) == 0;
        found += strncmp(line, "CapAmb:\t0000000000000000", 24) == 0;
    }
    return found == 4 ? 0 : 2;
}

static int enter_as_root_of_anothers_data(void)
{
    struct sandbox sandbox;
    struct sandbox_plan plan = {.mode = SANDBOX_AUTO, .data = data};
    if (chown(data, 54321, 54321) < 0 || !sandbox_enter(&sandbox, &plan))
        return 1;
    int fd = open(path_of(data, "own"), O_RDWR);
    bool told = !sandbox.layers[SANDBOX_PRIVILEGES].active &&
                strstr(sandbox.layers[SANDBOX_PRIVILEGES].text, "54321");
    return fd < 0 ? 2 : told ? 0 : 3;
}

/* The tokens of another user, for his eyes alone, while the logs are root's. */
static int read_anothers_file_again(void)
{
    struct sandbox sandbox;
    const char *file = path_of(beside, "certificate");
    const struct sandbox_plan plan = {
        .mode = SANDBOX_AUTO, .data = data, .readable = &file, .readable_count = 1};
    const struct sandbox_layer *layer = &sandbox.layers[SANDBOX_PRIVILEGES];
    if (chown(file, 54321, 54321) < 0 || !sandbox_enter(&sandbox, &plan))
        return 1;
    if (open(file, O_RDONLY) < 0)
        return 2;
    return !layer->active && strstr(layer->text, "certificate again") ? 0 : 3;
}

static void privileges_are_gone(void **state)
{
    if (!has_all())
        skip();
    assert_int_equal(in_child(look_at_privileges, false, false), 0);
    if (geteuid() != 0)
        return;
    assert_int_equal(in_child(enter_as_root_of_anothers_data, false, false), 0);
    assert_int_equal(chown(data, 0, 0), 0);
    assert_int_equal(in_child(read_anothers_file_again, false, false), 0);
    char *certificate = path_of(beside, "certificate");
    assert_int_equal(chown(certificate, 0, 0), 0);
    free(certificate);
}

static void make_file(char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    free(path);
}

static int make_folders(void **state)
{
    outside = tempdir_make();
    data = path_of(outside, "data");
    beside = path_of(outside, "beside");
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(mkdir(beside, 0700), 0);
    make_file(path_of(outside, "theirs"));
    make_file(path_of(outside, "doomed"));
    make_file(path_of(data, "own"));
    make_file(path_of(beside, "certificate"));
    char *link = path_of(data, "link");
    int rc = symlink("/etc/passwd", link);
    free(link);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_outside_are_out_of_reach),
        cmocka_unit_test(what_serving_takes_is_there),
        cmocka_unit_test(other_calls_are_refused),
        cmocka_unit_test(a_call_too_many_ends_a_debug_build),
        cmocka_unit_test(switched_off_it_takes_nothing_and_claims_nothing),
        cmocka_unit_test(a_layer_that_is_missing_is_told_and_refused_on_demand),
        cmocka_unit_test(privileges_are_gone),
    };

    return cmocka_run_group_tests(tests, make_folders, NULL);
}
