/* wal/histogram.c: the latencies that stats report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wal/base.h"
#include "wal/histogram.h"

/* A log nobody wrote to is asked for its latency all the same. */
static void an_empty_histogram_answers_zero(void **state)
{
    struct histogram histogram = {0};

    assert_int_equal(histogram.count, 0);
    assert_int_equal(histogram_percentile(&histogram, 0), 0);
    assert_int_equal(histogram_percentile(&histogram, 50), 0);
    assert_int_equal(histogram_percentile(&histogram, 100), 0);
}

/* Averages and alarms are made of these: they may not suffer from the buckets. */
static void count_sum_and_largest_value_are_exact(void **state)
{
    struct histogram histogram = {0};
    uint64_t sum = 0;

    for (uint64_t value = 1; value < 100000000; value = value * 3 + 1) {
        histogram_add(&histogram, value);
        sum += value;
    }
    assert_int_equal(histogram.count, 17);
    assert_int_equal(histogram.sum_us, sum);
    assert_int_equal(histogram.max_us, 64570081);
    assert_int_equal(histogram_percentile(&histogram, 100), 64570081);
}

/* The buckets must tile the whole range: a gap would lose values, an overlap would make two
 * percentiles contradict each other. Every value lies in the first bucket whose end reaches it. */
static void every_value_falls_into_the_first_bucket_that_reaches_it(void **state)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t first = i == 0 ? 0 : histogram_bucket_end_us(i - 1) + 1;
        uint64_t last = histogram_bucket_end_us(i);

        assert_true(first <= last);

        struct histogram histogram = {0};

        histogram_add(&histogram, first);
        histogram_add(&histogram, first + (last - first) / 2);
        histogram_add(&histogram, last);
        assert_int_equal(histogram.buckets[i], 3);
    }
}

/* What the header promises: single microseconds at the low end, and never more than a quarter off
 * up to a minute, which is past every timeout of ours. */
static void a_bucket_is_at_most_a_quarter_wider_than_its_smallest_value(void **state)
{
    assert_true(histogram_bucket_end_us(HISTOGRAM_BUCKETS - 2) > 60000000);
    assert_int_equal(histogram_bucket_end_us(HISTOGRAM_BUCKETS - 1), UINT64_MAX);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(histogram_bucket_end_us(i), i);
    for (unsigned i = 8; i < HISTOGRAM_BUCKETS - 1; i++) {
        uint64_t first = histogram_bucket_end_us(i - 1) + 1;

        assert_true((histogram_bucket_end_us(i) - first) * 4 < first);
    }
}

/* A p99 that is too low hides the very latency it is there to show. */
static void a_percentile_is_never_below_the_true_one_and_at_most_a_quarter_above(void **state)
{
    static const double percents[] = {0, 0.1, 1, 25, 50, 90, 99, 99.9, 100};
    struct histogram histogram = {0};

    for (uint64_t value = 1; value <= 10000; value++)
        histogram_add(&histogram, value);
    for (unsigned i = 0; i < ARRAY_SIZE(percents); i++) {
        uint64_t exact = max_u64((uint64_t)(percents[i] * 100 + 0.5), 1);
        uint64_t got = histogram_percentile(&histogram, percents[i]);

        assert_in_range(got, exact, exact + exact / 4);
    }
}

/* One slow commit in a thousand is not the p99.9, and two are: the rank is counted in whole numbers,
 * since 99.9 % of 1000 in floating point is a little more than 999. */
static void a_percentile_does_not_round_up_into_the_next_value(void **state)
{
    struct histogram histogram = {0};

    for (unsigned i = 0; i < 999; i++)
        histogram_add(&histogram, 5);
    histogram_add(&histogram, 5000);
    assert_int_equal(histogram_percentile(&histogram, 99.9), 5);

    histogram_add(&histogram, 5000);
    assert_int_equal(histogram_percentile(&histogram, 99.9), 5000);
}

/* The end of the bucket would report a latency that nothing ever had. */
static void a_percentile_is_not_above_the_largest_value(void **state)
{
    struct histogram histogram = {0};

    histogram_add(&histogram, 1000);
    assert_int_equal(histogram_percentile(&histogram, 50), 1000);

    histogram_add(&histogram, UINT64_C(1) << 40);
    assert_int_equal(histogram_percentile(&histogram, 99), UINT64_C(1) << 40);
}

/* A histogram over all logs is the sum of theirs. */
static void merging_is_the_same_as_adding_to_one(void **state)
{
    struct histogram all = {0};
    struct histogram parts[2] = {{0}};
    uint64_t value = 1;

    for (unsigned i = 0; i < 1000; i++) {
        value = (value * 6364136223846793005u + 1442695040888963407u) >> 20;
        histogram_add(&all, value % 5000000);
        histogram_add(&parts[i % 3 == 0], value % 5000000);
    }

    /* In both directions, since one of them holds the largest value. */
    struct histogram other_way = parts[1];
    struct histogram kept = parts[1];

    histogram_merge(&other_way, &parts[0]);
    histogram_merge(&parts[0], &parts[1]);
    assert_memory_equal(&parts[0], &all, sizeof(all));
    assert_memory_equal(&other_way, &all, sizeof(all));
    assert_memory_equal(&parts[1], &kept, sizeof(kept));
}

/* A busy log fills a bucket of 32 bits within days. It may not begin again at zero then, and a rare
 * slow value may not vanish by being halved, once or many times. */
static void a_full_bucket_keeps_the_proportions(void **state)
{
    struct histogram histogram = {0};
    struct histogram fast = {0};
    unsigned full = 0;
    unsigned slow = 0;

    while (histogram_bucket_end_us(full) < 100)
        full++;
    while (histogram_bucket_end_us(slow) < 7000)
        slow++;
    fast.buckets[full] = UINT32_MAX;
    fast.count = UINT32_MAX;
    fast.max_us = 100;
    histogram_add(&histogram, 7000);
    histogram_merge(&histogram, &fast);
    assert_int_equal(histogram.buckets[full], UINT32_MAX);

    histogram_add(&histogram, 100);
    assert_int_equal(histogram.count, UINT64_C(2) + UINT32_MAX);
    assert_int_equal(histogram.buckets[full], UINT32_C(1) + (UINT32_C(1) << 31));
    assert_int_equal(histogram.buckets[slow], 1);
    assert_in_range(histogram_percentile(&histogram, 99.9), 100, 125);
    assert_int_equal(histogram_percentile(&histogram, 100), 7000);

    for (unsigned i = 0; i < 40; i++)
        histogram_merge(&histogram, &fast);
    assert_int_equal(histogram.count, UINT64_C(2) + UINT64_C(41) * UINT32_MAX);
    assert_true(histogram.buckets[full] >= UINT32_C(1) << 31);
    assert_int_equal(histogram.buckets[slow], 1);
    assert_in_range(histogram_percentile(&histogram, 99.9), 100, 125);
    assert_int_equal(histogram_percentile(&histogram, 100), 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_answers_zero),
        cmocka_unit_test(count_sum_and_largest_value_are_exact),
        cmocka_unit_test(every_value_falls_into_the_first_bucket_that_reaches_it),
        cmocka_unit_test(a_bucket_is_at_most_a_quarter_wider_than_its_smallest_value),
        cmocka_unit_test(a_percentile_is_never_below_the_true_one_and_at_most_a_quarter_above),
        cmocka_unit_test(a_percentile_does_not_round_up_into_the_next_value),
        cmocka_unit_test(a_percentile_is_not_above_the_largest_value),
        cmocka_unit_test(merging_is_the_same_as_adding_to_one),
        cmocka_unit_test(a_full_bucket_keeps_the_proportions),
    };

    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
