/* The look at the bytes of a connection before the HTTP library reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/wire.h"
#include "wal/base.h"

#define HEAD "POST /logs/a HTTP/1.1\r\nHost: localhost\r\n"
#define NEXT "GET /livez HTTP/1.1\r\n\r\n"

struct look {
    const char *bytes;
    size_t count;       /* 0: up to the NUL */
    const char *become; /* what the library gets to see, 1 for each byte that was changed */
    unsigned heads;
};

/* A string with a NUL in it. */
#define WITH_NUL(text) text, sizeof(text) - 1

static void check(const struct look *look, size_t piece)
{
    struct wire wire = {0};
    char bytes[1024];
    size_t count = look->count ? look->count : strlen(look->bytes);
    size_t kept = 0;
    assert_true(count <= sizeof(bytes));
    memcpy(bytes, look->bytes, count);
    for (size_t i = 0; i < count && wire.state != WIRE_CUT; i += piece)
        kept += wire_look(&wire, bytes + i, min_u64(piece, count - i));
    assert_int_equal(kept, strlen(look->become));
    for (size_t i = 0; i < kept; i++)
        assert_int_equal(bytes[i], look->become[i] == '?' ? '\001' : look->become[i]);
    assert_int_equal(wire.heads, look->heads);
}

/* However the bytes arrive, they are judged alike. */
static void check_all(const struct look *looks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t piece = 1; piece < 7; piece++)
            check(&looks[i], piece);
        check(&looks[i], 1024);
    }
}

/* What is well-formed passes as it is, and so does what follows it. */
static void test_well_formed_requests_are_left_alone(void **state)
{
    static const char *const fine[] = {
        NEXT NEXT,
        "\r\n\r\n" NEXT NEXT,
        HEAD "Content-Length: 5\r\n\r\nhello" NEXT,
        HEAD "content-length:0\r\n\r\n" NEXT,
        HEAD "Content-Length: 4\r\n\r\n\r\n\r\n" NEXT,
        HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" NEXT,
        HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT,
        HEAD "Transfer-Encoding: chunked\r\n\r\n2;a=\"b c\"\r\n\r\n\r\nA\r\n0123456789\r\n000;x\r\n"
             "X: y\r\nZ:\r\n\r\n" NEXT,
    };
    for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
        const struct look look = {fine[i], 0, fine[i], 2};
        check_all(&look, 1);
    }
}

/* In a head, a byte with two meanings becomes one that the gate refuses, and nothing behind that head
 * is read. */
static void test_ambiguous_bytes_of_heads_are_spoilt(void **state)
{
    static const struct look looks[] = {
        {"POST  / HTTP/1.1\r\n\r\n" NEXT, 0, "POST ?/ HTTP/1.1\r\n\r\n", 1},
        {" POST / HTTP/1.1\r\n\r\n" NEXT, 0, "?POST / HTTP/1.1\r\n\r\n", 1},
        {"POST / x HTTP/1.1\r\n\r\n" NEXT, 0, "POST / x?HTTP/1.1\r\n\r\n", 1},
        {"\nPOST / HTTP/1.1\r\n\r\n" NEXT, 0, "?POST / HTTP/1.1\r\n\r\n", 1},
        {"POST / HTTP/1.1\n\r\n\r\n" NEXT, 0, "POST / HTTP/1.1?\r\n\r\n", 1},
        {HEAD "X: a\n\r\n\r\n" NEXT, 0, HEAD "X: a?\r\n\r\n", 1},
        {HEAD "X: a\rb\r\n\r\n" NEXT, 0, HEAD "X: a\rb\r\n\r\n", 1},
        {HEAD " folded: a\r\n\r\n" NEXT, 0, HEAD "?folded: a\r\n\r\n", 1},
        {HEAD "\tfolded\r\n\r\n" NEXT, 0, HEAD "?folded\r\n\r\n", 1},
        {HEAD ": a\r\n\r\n" NEXT, 0, HEAD "? a\r\n\r\n", 1},
        {WITH_NUL(HEAD "\0\r\n\r\n" NEXT), HEAD "?\r\n\r\n", 1},
        {WITH_NUL(HEAD "\0\n\r\n\r\n" NEXT), HEAD "??\r\n\r\n", 1},
        {WITH_NUL(HEAD "X: a\0b\r\n\r\n" NEXT), HEAD "X: a?b\r\n\r\n", 1},
    };
    check_all(looks, ARRAY_SIZE(looks));
}

/* Where a head does not say clearly where its body ends, nothing is read behind it. */
static void test_unclear_framing_ends_the_connection(void **state)
{
    static const char *const headers[] = {
        "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Length: 1 \r\n\r\n",
        "Content-Length: 1,1\r\n\r\n",
        "Content-Length:\r\n\r\n",
        "Content-Length: 00000000000000000001\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        char bytes[512] = HEAD, kept[512] = HEAD;
        strcat(strcat(bytes, headers[i]), "x" NEXT);
        strcat(kept, headers[i]);
        const struct look look = {bytes, 0, kept, 1};
        check_all(&look, 1);
    }
}

/* Between chunks the first byte that is not as it should be is the last that is read. */
static void test_malformed_chunks_end_the_connection(void **state)
{
#define CHUNKS HEAD "Transfer-Encoding: chunked\r\n\r\n"
    static const struct look looks[] = {
        {CHUNKS "\r\n", 0, CHUNKS "?", 1},
        {CHUNKS "-1\r\n", 0, CHUNKS "?", 1},
        {CHUNKS "1 \r\n", 0, CHUNKS "1?", 1},
        {CHUNKS "1\nx", 0, CHUNKS "1?", 1},
        {CHUNKS "1\rx", 0, CHUNKS "1\r?", 1},
        {CHUNKS "0000000000000001\r\n", 0, CHUNKS "000000000000000?", 1},
        {CHUNKS "1;a\nx\r\n", 0, CHUNKS "1;a?", 1},
        {CHUNKS "1;a\rx\r\n", 0, CHUNKS "1;a\r?", 1},
        {WITH_NUL(CHUNKS "1;a\0\r\n"), CHUNKS "1;a?", 1},
        {CHUNKS "1\r\nxy", 0, CHUNKS "1\r\nx?", 1},
        {CHUNKS "1\r\nx\n", 0, CHUNKS "1\r\nx?", 1},
        {CHUNKS "1\r\nx\r\r", 0, CHUNKS "1\r\nx\r?", 1},
        {CHUNKS "0\r\nX\r\n", 0, CHUNKS "0\r\nX?", 1},
        {CHUNKS "0\r\n X: a", 0, CHUNKS "0\r\n?", 1},
        {CHUNKS "0\r\n: a", 0, CHUNKS "0\r\n?", 1},
        {CHUNKS "0\r\nX: a\n", 0, CHUNKS "0\r\nX: a?", 1},
        {WITH_NUL(CHUNKS "0\r\n\0\r\n"), CHUNKS "0\r\n?", 1},
    };
    check_all(looks, ARRAY_SIZE(looks));
}

/* A library that got its bytes some other way must not be believed. */
static void test_heads_that_were_not_seen_are_told(void **state)
{
    assert_false(wire_head_was_seen(-1));
    assert_false(wire_head_was_seen(5));
    assert_int_equal(wire_open(5), 0);
    assert_false(wire_head_was_seen(5));
    wire_close(5);
    assert_false(wire_head_was_seen(5));
}

static int connect_to(int listen_fd)
{
    struct sockaddr_un address;
    socklen_t bytes = sizeof(address);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(getsockname(listen_fd, (struct sockaddr *)&address, &bytes), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, bytes), 0);
    return fd;
}

static bool has_been_closed(int fd)
{
    char byte;
    return recvfrom(fd, &byte, 1, MSG_DONTWAIT, NULL, NULL) == 0;
}

static void allow_files(rlim_t count)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The library would listen no more until a connection is closed, if it heard that files are short. */
static void test_who_comes_when_files_are_short_is_turned_away(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rlimit limit;
    int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listen_fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(listen_fd, 4), 0);
    int first = connect_to(listen_fd);
    int accepted = accept4(listen_fd, NULL, NULL, 0);
    assert_true(accepted >= 0);

    int second = connect_to(listen_fd), third = connect_to(listen_fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int free_fd = dup(listen_fd);
    close(free_fd);
    allow_files((rlim_t)free_fd);
    assert_int_equal(accept4(listen_fd, NULL, NULL, 0), -1);
    assert_int_equal(errno, EAGAIN);
    allow_files(limit.rlim_cur);
    assert_true(has_been_closed(second));
    assert_false(has_been_closed(third));

    int other = accept4(listen_fd, NULL, NULL, 0);
    assert_true(other >= 0);
    const int fds[] = {listen_fd, first, second, third, accepted, other};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    wire_done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed_requests_are_left_alone),
        cmocka_unit_test(test_ambiguous_bytes_of_heads_are_spoilt),
        cmocka_unit_test(test_unclear_framing_ends_the_connection),
        cmocka_unit_test(test_malformed_chunks_end_the_connection),
        cmocka_unit_test(test_heads_that_were_not_seen_are_told),
        cmocka_unit_test(test_who_comes_when_files_are_short_is_turned_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
