/* api/inflate.c: gzip comes out whole, or not at all, and never larger than the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <zlib.h>

#include "api/inflate.h"
#include "wal/base.h"

/* A buffer that ends where the data does, so that ASan sees a read beyond it. */
struct bytes {
    char *data;
    size_t size;
};

static void bytes_done(struct bytes *bytes)
{
    free(bytes->data);
}

/* Adds a member; window_bits: 31 for gzip, 15 for zlib's own format, -15 for neither. */
static void pack(struct bytes *packed, const char *data, size_t size, int window_bits)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    size_t room = deflateBound(&stream, size);
    char *grown = realloc(packed->data, packed->size + room);
    assert_non_null(grown);
    packed->data = grown;
    stream.next_in = (z_const Bytef *)data;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)grown + packed->size;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    packed->size += room - stream.avail_out;
    deflateEnd(&stream);
    packed->data = realloc(packed->data, packed->size);
    assert_non_null(packed->data);
}

static int inflate_bytes(const struct bytes *packed, size_t max, struct bytes *ret_bytes)
{
    return inflate_gzip(packed->data, packed->size, max, &ret_bytes->data, &ret_bytes->size);
}

/* Sizes around those at which the room grows. */
static void what_was_packed_comes_out(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 1000000};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        CLEANUP(bytes_done) struct bytes plain = {malloc(sizes[i] + 1), sizes[i]};
        CLEANUP(bytes_done) struct bytes packed = {0}, again = {0};
        assert_non_null(plain.data);
        for (size_t at = 0; at < plain.size; at++)
            plain.data[at] = (char)(at * at >> 7);
        pack(&packed, plain.data, plain.size, 31);
        assert_int_equal(inflate_bytes(&packed, 1000000, &again), 0);
        assert_int_equal(again.size, plain.size);
        if (plain.size > 0)
            assert_memory_equal(again.data, plain.data, plain.size);
    }
}

/* Two files of gzip behind each other are one file of gzip (RFC 1952, 2.2). */
static void members_behind_each_other_are_one_text(void **state)
{
    CLEANUP(bytes_done) struct bytes packed = {0}, plain = {0};
    pack(&packed, "one ", 4, 31);
    pack(&packed, "", 0, 31);
    pack(&packed, "two", 3, 31);
    assert_int_equal(inflate_bytes(&packed, 7, &plain), 0);
    assert_int_equal(plain.size, 7);
    assert_memory_equal(plain.data, "one two", 7);
}

/* A few KiB that want to be 16 MiB may cost no more than the limit. */
static void a_bomb_stops_at_the_limit(void **state)
{
    CLEANUP(bytes_done) struct bytes zeros = {calloc(1, 16u << 20), 16u << 20};
    CLEANUP(bytes_done) struct bytes packed = {0}, plain = {0};
    assert_non_null(zeros.data);
    pack(&packed, zeros.data, zeros.size, 31);
    assert_true(packed.size < 20000);

    assert_int_equal(inflate_bytes(&packed, 0, &plain), -EMSGSIZE);
    assert_int_equal(inflate_bytes(&packed, 1000, &plain), -EMSGSIZE);
    assert_int_equal(inflate_bytes(&packed, 1u << 20, &plain), -EMSGSIZE);
    assert_int_equal(inflate_bytes(&packed, (16u << 20) - 1, &plain), -EMSGSIZE);
    assert_null(plain.data);
    assert_int_equal(inflate_bytes(&packed, 16u << 20, &plain), 0);
    assert_int_equal(plain.size, 16u << 20);
}

/* Half a body must not pass for a whole one, wherever it was cut off. */
static void every_cut_is_noticed(void **state)
{
    CLEANUP(bytes_done) struct bytes packed = {0}, plain = {0};
    pack(&packed, "a text that is cut off, a text that is cut off", 46, 31);
    size_t whole = packed.size;
    for (packed.size = 0; packed.size < whole; packed.size++) {
        struct bytes cut = {malloc(packed.size + 1), packed.size};
        assert_non_null(cut.data);
        memcpy(cut.data, packed.data, cut.size);
        assert_int_equal(inflate_bytes(&cut, 1000, &plain), -EBADMSG);
        free(cut.data);
    }
}

/* A damaged byte shows in the checksum if nowhere else; only bits of the header have no meaning. */
static void every_damaged_byte_behind_the_header_is_noticed(void **state)
{
    CLEANUP(bytes_done) struct bytes packed = {0};
    pack(&packed, "a text that is damaged", 22, 31);
    for (size_t at = 10; at < packed.size; at++) {
        struct bytes plain = {0};
        packed.data[at] = (char)~packed.data[at];
        int rc = inflate_bytes(&packed, 22, &plain);
        assert_true(rc == -EBADMSG || rc == -EMSGSIZE);
        packed.data[at] = (char)~packed.data[at];
    }
}

static void what_follows_the_end_is_refused(void **state)
{
    CLEANUP(bytes_done) struct bytes packed = {0}, plain = {0};
    pack(&packed, "text", 4, 31);
    pack(&packed, "more", 4, -15);
    assert_int_equal(inflate_bytes(&packed, 1000, &plain), -EBADMSG);
}

static void other_formats_are_refused(void **state)
{
    CLEANUP(bytes_done) struct bytes zlib = {0}, bare = {0}, plain = {0};
    struct bytes text = {(char[]){"plain text"}, 10};
    pack(&zlib, "text", 4, 15);
    pack(&bare, "text", 4, -15);
    assert_int_equal(inflate_bytes(&zlib, 1000, &plain), -EBADMSG);
    assert_int_equal(inflate_bytes(&bare, 1000, &plain), -EBADMSG);
    assert_int_equal(inflate_bytes(&text, 1000, &plain), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_comes_out),
        cmocka_unit_test(members_behind_each_other_are_one_text),
        cmocka_unit_test(a_bomb_stops_at_the_limit),
        cmocka_unit_test(every_cut_is_noticed),
        cmocka_unit_test(every_damaged_byte_behind_the_header_is_noticed),
        cmocka_unit_test(what_follows_the_end_is_refused),
        cmocka_unit_test(other_formats_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
