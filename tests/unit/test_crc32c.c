/* wal/crc32c.c: the checksum that everything on disk rests on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "wal/base.h"
#include "wal/crc32c.h"

/* The definition, one bit at a time: slow and hard to get wrong. */
static uint32_t crc32c_by_definition(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
    }
    return ~crc;
}

static void fill(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + i / 251 + 3);
}

/* Files are to be read by strangers: it must be the CRC32C of everyone else, not merely one that
 * agrees with itself. The check value, and the vectors of RFC 3720 appendix B.4. */
static void it_gives_the_published_values(void **state)
{
    uint8_t zeros[32] = {0};
    uint8_t ones[32];
    uint8_t rising[32];
    uint8_t falling[32];

    memset(ones, 0xff, sizeof(ones));
    for (uint8_t i = 0; i < 32; i++) {
        rising[i] = i;
        falling[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, zeros, sizeof(zeros)), 0x8A9136AA);
    assert_int_equal(crc32c(0, ones, sizeof(ones)), 0x62A8AB43);
    assert_int_equal(crc32c(0, rising, sizeof(rising)), 0x46DD794E);
    assert_int_equal(crc32c(0, falling, sizeof(falling)), 0x113FDB5C);
}

/* The library underneath has a separate path for short and for long inputs, for the ends that are
 * no multiple of eight, and for each kind of processor. */
static void it_agrees_with_the_definition_at_every_size_and_alignment(void **state)
{
    enum { SIZE_MAX_TESTED = 1100, ALIGNMENTS = 16 };
    uint8_t *data = malloc(SIZE_MAX_TESTED + ALIGNMENTS);

    assert_non_null(data);
    fill(data, SIZE_MAX_TESTED + ALIGNMENTS);
    for (size_t size = 0; size <= SIZE_MAX_TESTED; size++) {
        const uint8_t *begin = data + size % ALIGNMENTS;
        uint32_t seed = (uint32_t)size * 2654435761u;

        assert_int_equal(crc32c(seed, begin, size), crc32c_by_definition(seed, begin, size));
    }
    for (size_t skip = 0; skip < ALIGNMENTS; skip++) {
        assert_int_equal(crc32c(0, data + skip, 1024), crc32c_by_definition(0, data + skip, 1024));
        assert_int_equal(crc32c(0, data + skip, 61), crc32c_by_definition(0, data + skip, 61));
    }
    free(data);
}

/* A frame's items are checksummed one header at a time, and the salt before the header. */
static void it_continues_over_pieces_as_over_the_whole(void **state)
{
    uint8_t data[700];

    fill(data, sizeof(data));

    uint32_t whole = crc32c(0, data, sizeof(data));

    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        uint32_t first = crc32c(0, data, cut);

        assert_int_equal(crc32c(first, data + cut, sizeof(data) - cut), whole);
    }
}

/* An item without attributes has no pointer to them. */
static void nothing_leaves_the_checksum_as_it_was(void **state)
{
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(0x12345678, NULL, 0), 0x12345678);
    assert_int_equal(crc32c(0x12345678, "x", 0), 0x12345678);
}

/* It is assembler underneath, which no sanitizer watches, and the last byte of a body may be the
 * last byte of a mapping. */
static void it_reads_no_byte_before_or_after_the_input(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *map = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(map != MAP_FAILED);
    fill(map, 3 * page);
    assert_int_equal(mprotect(map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(map + 2 * page, page, PROT_NONE), 0);

    const uint8_t *begin = map + page;
    const uint8_t *end = map + 2 * page;

    for (size_t size = 0; size <= page; size++) {
        assert_int_equal(crc32c(0, begin, size),
                         crc32c(crc32c(0, begin, size / 2), begin + size / 2, size - size / 2));
        assert_int_equal(
            crc32c(0, end - size, size),
            crc32c(crc32c(0, end - size, size / 3), end - size + size / 3, size - size / 3));
    }
    munmap(map, 3 * page);
}

/* The library counts in int: beyond 2 GiB a size must not turn negative, beyond 4 GiB not be cut off.
 * The same piece of memory is mapped again and again, so that this takes no more than it; its size
 * is no power of two, so that every part of the whole begins at another place of the piece. */
static void it_takes_more_than_an_int_can_count(void **state)
{
    size_t piece = (size_t)251 * 4096;
    size_t pieces = ((size_t)1 << 32) / piece + 1;
    size_t size = piece * pieces + 5;
    int fd = memfd_create("crc32c", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)piece), 0);

    uint8_t *map = mmap(NULL, piece * (pieces + 1), PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (map == MAP_FAILED) {
        close(fd);
        skip();
    }
    for (size_t i = 0; i <= pieces; i++) {
        void *at =
            mmap(map + i * piece, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);

        assert_true(at == map + i * piece);
    }
    fill(map, piece);

    uint32_t expected = 0;

    for (size_t i = 0; i < pieces; i++)
        expected = crc32c(expected, map, piece);
    expected = crc32c(expected, map, 5);
    assert_int_equal(crc32c(0, map, size), expected);

    munmap(map, piece * (pieces + 1));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_gives_the_published_values),
        cmocka_unit_test(it_agrees_with_the_definition_at_every_size_and_alignment),
        cmocka_unit_test(it_continues_over_pieces_as_over_the_whole),
        cmocka_unit_test(nothing_leaves_the_checksum_as_it_was),
        cmocka_unit_test(it_reads_no_byte_before_or_after_the_input),
        cmocka_unit_test(it_takes_more_than_an_int_can_count),
    };

    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
