#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A known sequence of requests, and then every number that can be known of it, in /metrics, in /stats
# and in the stats of the logs: they agree, and nothing that counts ever falls.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# of JSON-PATH: a value out of the last answer, as jq finds it.
of()
{
    jq -r "$1" "$work/body"
}

# scrape FILE: /metrics, its samples alone.
scrape()
{
    expect 200 "$url/metrics"
    expect_header Content-Type 'text/plain; version=0.0.4; charset=utf-8'
    expect_header Cache-Control no-store
    cp "$work/body" "$1"
}

# sample NAME: its value in the last scrape; nothing if it is not there.
sample()
{
    awk -v name="$1" 'substr($0, 1, length(name) + 1) == name " " { print $NF }' "$work/metrics"
}

expect_sample()
{
    [ "$(sample "$1")" = "$2" ] || die "$1: wanted \"$2\", got \"$(sample "$1")\""
}

# settle: until nothing is written any more: a mark follows the last commit of a quiet log.
settle()
{
    local before=none now
    for _ in $(seq 100); do
        expect 200 "$url/stats"
        now=$(of .writes)
        [ "$now" != "$before" ] || [ "$(of .syncs)" != "$now" ] || return 0
        before=$now
        sleep 0.5
    done
    die 'the service does not come to rest'
}

# Both documents at rest, and in each pair the same number.
agree()
{
    local pair
    settle
    scrape "$work/metrics"
    expect 200 "$url/stats"
    for pair in \
        wald_committed_records_total:.commit_records \
        wald_committed_bytes_total:.commit_bytes \
        wald_commits_total:.commits \
        wald_commit_records_sum:.commit_records \
        wald_commit_records_count:.commits \
        wald_commit_records_max:.commit_records_max \
        wald_commit_duration_seconds_count:.commit_latency_us.count \
        wald_syncs_total:.syncs \
        wald_sync_duration_seconds_count:.sync_latency_us.count \
        wald_segment_rotations_total:.rotations \
        wald_packed_segments_total:.packed_segments \
        wald_packed_saved_bytes_total:.packed_saved_bytes \
        wald_pack_failures_total:.pack_failures \
        wald_write_retries_total:.write_retries \
        wald_write_errors_total:.write_errors \
        wald_log_failures_total:.log_failures \
        wald_logs_created_total:.logs_created \
        wald_logs_deleted_total:.logs_deleted \
        wald_name_syncs_total:.name_syncs \
        'wald_append_refusals_total{reason="queue"}:.refusals_queue' \
        'wald_append_refusals_total{reason="space"}:.refusals_space' \
        'wald_append_refusals_total{reason="other"}:.refusals_other' \
        'wald_append_refusals_total{reason="quota"}:.refusals_quota' \
        'wald_trims_total{reason="request"}:.trims.request.count' \
        'wald_trimmed_records_total{reason="request"}:.trims.request.records' \
        'wald_trims_total{reason="age"}:.trims.age.count' \
        'wald_trims_total{reason="bytes"}:.trims.bytes.count' \
        'wald_trims_total{reason="records"}:.trims.records.count' \
        wald_disk_floor_bytes:.floor_bytes \
        wald_pending_records:.pending_entries \
        wald_pending_bytes:.pending_bytes \
        wald_batch_memory_bytes:.memory_bytes \
        wald_appends_waiting:.appends_waiting \
        wald_committer_writes_total:.writes \
        wald_logs:.log_count \
        wald_logs_open:.logs_open \
        wald_logs_failed:.logs_failed \
        wald_logs_damaged:.logs_damaged \
        wald_damaged_places:.scrub.places \
        wald_damage_found_total:.scrub.found \
        wald_scrub_passes_total:.scrub.passes \
        wald_scrub_errors_total:.scrub.errors \
        wald_logs_disk_bytes:.bytes_on_disk \
        wald_disk_size_bytes:.size_bytes \
        wald_write_handles:.write_handles \
        wald_http_requests_aborted_total:.requests_aborted \
        'wald_http_refusals_total{type="log-not-found"}:.refusals."log-not-found"//0' \
        'wald_http_refusals_total{type="record-too-large"}:.refusals."record-too-large"//0' \
        process_max_fds:.process.max_fds; do
        expect_sample "${pair%%:.*}" "$(of ".${pair#*:.}")"
    done
    # Times as seconds, to the last digit.
    expect_sample wald_commit_duration_seconds_sum \
        "$(of .commit_latency_us.sum | awk '{ printf "%d.%06d", $1 / 1000000, $1 % 1000000 }')"
    # Two requests lie between the two answers: the scrape, and the question after stats.
    [ "$(of '.answers | add')" -eq $(($(sum_of wald_http_requests_total) + 1)) ] ||
        die "answers: $(of .answers) and $(sum_of wald_http_requests_total)"
    [ "$(of .requests)" -eq $(($(sample wald_http_requests_begun_total) + 1)) ] ||
        die "requests: $(of .requests)"
    [ "$(of .requests)" -eq "$(of '(.answers | add) + .requests_aborted + .requests_in_progress')" ] ||
        die "not every request is accounted for: $(cat "$work/body")"
    [ "$(sum_of wald_http_refusals_total)" -eq "$(of '.refusals | add // 0')" ] ||
        die "refusals: $(of .refusals)"
}

# sum_of NAME: over all labels, in the last scrape.
sum_of()
{
    awk -v name="$1{" 'index($0, name) == 1 { sum += $NF } END { print sum + 0 }' "$work/metrics"
}

start
head -c 1000 /dev/zero >"$work/kilobyte"
head -c 1048577 /dev/zero >"$work/large"
for _ in 1 2 3; do
    expect 200 -d hello "$url/logs/orders"
done
for _ in 1 2; do
    expect 200 --data-binary "@$work/kilobyte" "$url/logs/payments"
done
expect 400 -X POST "$url/logs/orders"
expect 413 --data-binary "@$work/large" "$url/logs/orders"
expect 404 "$url/logs/none/offsets"
expect 404 "$url/nowhere"
expect 200 -I "$url/logs"
expect 200 -X OPTIONS "$url/logs"
agree

expect_sample wald_committed_records_total 5
expect_sample wald_committed_bytes_total 2015
expect_sample wald_commits_total 5
expect_sample 'wald_commit_records_bucket{le="1"}' 5
expect_sample wald_logs 2
expect_sample wald_logs_open 2
expect_sample wald_logs_unlisted 0
expect_sample 'wald_http_requests_total{method="POST",route="/logs/{log}",code="200"}' 5
expect_sample 'wald_http_requests_total{method="POST",route="/logs/{log}",code="400"}' 1
expect_sample 'wald_http_requests_total{method="POST",route="/logs/{log}",code="413"}' 1
expect_sample 'wald_http_requests_total{method="GET",route="/logs/{log}/offsets",code="404"}' 1
expect_sample 'wald_http_requests_total{method="GET",route="/logs",code="200"}' 1
expect_sample 'wald_http_requests_total{method="other",route="other",code="404"}' 1
expect_sample 'wald_http_requests_total{method="other",route="other",code="200"}' 1
for type in empty-record record-too-large log-not-found path-not-found; do
    expect_sample "wald_http_refusals_total{type=\"$type\"}" 1
done
expect_sample wald_http_requests_in_progress 1
expect_sample wald_disk_writable 1
expect_sample wald_draining 0
expect_sample 'wald_log_committed_offset{log="orders"}' 3
expect_sample 'wald_log_committed_offset{log="payments"}' 2
expect_sample 'wald_log_first_offset{log="orders"}' 0
expect_sample 'wald_log_writable{log="orders"}' 1
grep -q "^wald_build_info{.*,backend=\"$backend\"} 1$" "$work/metrics" || die 'wald_build_info'
grep -q "^wald_io_info{backend=\"$backend\",direct=\"[a-z]*\",reason=\"..*\"} 1$" "$work/metrics" ||
    die 'wald_io_info'

# What each log says of itself adds up to what the service says.
commits=0
syncs=0
disk=0
for log in orders payments; do
    expect 200 "$url/logs/$log/stats"
    commits=$((commits + $(of .commits)))
    syncs=$((syncs + $(of .syncs)))
    disk=$((disk + $(of .bytes_on_disk)))
    expect_sample "wald_log_committed_offset{log=\"$log\"}" "$(of .committed_offset)"
    expect_sample "wald_log_first_offset{log=\"$log\"}" "$(of .first_offset)"
    expect_sample "wald_log_disk_bytes{log=\"$log\"}" "$(of .bytes_on_disk)"
    [ "$(of .commits)" = "$(of .commit_latency_us.count)" ] || die "$log: commits"
    for member in total_bytes_written total_operations current_offset pending_entries \
        pending_bytes records_per_commit bytes_per_commit commit_latency_us.p50 \
        commit_latency_us.p99 commit_latency_us.max sync_latency_us.p50 sync_latency_us.p99 \
        sync_latency_us.max segments io.backend io.reason recovery.clean state refusals_queue \
        refusals_space refusals_other refusals_quota trims.request.count write_retries; do
        [ "$(of ".$member")" != null ] || die "$log: no $member: $(cat "$work/body")"
    done
done
expect_sample wald_commits_total "$commits"
expect_sample wald_syncs_total "$syncs"
expect_sample wald_logs_disk_bytes "$disk"

# Not a log more than four series, and each histogram whole: it rises to its count.
series=$(grep -c 'log="orders"' "$work/metrics")
[ "$series" -le 4 ] || die "$series series of one log"
awk '
    /_bucket\{/ {
        name = $0
        sub(/_bucket.*/, "", name)
        if (name in last && $NF < last[name])
            exit 1
        last[name] = $NF
        if (index($0, "le=\"+Inf\""))
            all[name] = $NF
    }
    /_count / {
        name = $1
        sub(/_count$/, "", name)
        if (!(name in all) || all[name] != $NF)
            exit 1
        whole++
    }
    END { exit whole == 3 ? 0 : 1 }' "$work/metrics" || die 'a histogram is not whole'

# expect_risen: each counter of the scrape before is still there, and no smaller.
expect_risen()
{
    awk '
        /^# TYPE / { type[$3] = $4 }
        /^#/ { next }
        {
            name = $1
            sub(/\{.*/, "", name)
            family = name
            if (!(family in type))
                sub(/_(bucket|sum|count)$/, "", family)
            if (type[family] == "gauge")
                next
            key = $0
            sub(/ [^ ]*$/, "", key)
            if (NR == FNR) {
                before[key] = $NF
                next
            }
            seen++
            if (key in before && $NF + 0 < before[key] + 0) {
                print key " fell from " before[key] " to " $NF
                exit 1
            }
            delete before[key]
        }
        END {
            for (key in before) {
                print key " is gone"
                exit 1
            }
            exit seen > 50 ? 0 : 1
        }' "$work/before" "$work/metrics" || die 'a counter fell'
}

# A log that goes takes its own series along, and nothing else.
cp "$work/metrics" "$work/before"
expect 204 -X DELETE "$url/logs/orders"
agree
expect_risen
expect_sample wald_committed_records_total 5
expect_sample wald_logs_open 1
expect_sample 'wald_log_committed_offset{log="orders"}' ''
expect_sample 'wald_http_requests_total{method="DELETE",route="/logs/{log}",code="204"}' 1
cp "$work/metrics" "$work/before"
expect 200 -d again "$url/logs/orders"
agree
expect_risen
expect_sample wald_committed_records_total 6
expect_sample wald_commits_total 6
expect_sample 'wald_log_committed_offset{log="orders"}' 1

# A client that goes away without an answer is counted, too, and its connection is not kept.
exec 7<>"/dev/tcp/127.0.0.1/$port"
send 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhal'
for _ in $(seq 100); do
    scrape "$work/metrics"
    [ "$(sample wald_http_requests_in_progress)" != 2 ] || break
    sleep 0.1
done
expect_sample wald_http_requests_in_progress 2
expect_sample wald_http_connections 2
expect_sample wald_http_connections_parked 0
exec 7>&-
for _ in $(seq 100); do
    scrape "$work/metrics"
    [ "$(sample wald_http_requests_aborted_total)" != 1 ] || break
    sleep 0.1
done
expect_sample wald_http_requests_aborted_total 1
expect_sample wald_http_connections 1
agree

# The process itself, as the kernel sees it.
[ "$(sample process_open_fds)" -ge "$(sample wald_write_handles)" ] || die 'process_open_fds'
kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status")
[ "$(sample process_resident_memory_bytes)" -gt $((kib * 1024 / 2)) ] || die 'resident memory'
sample process_start_time_seconds | awk -v now="$(date +%s)" '
    { exit $1 > now - 3600 && $1 < now + 2 ? 0 : 1 }' || die 'process_start_time_seconds'
stop

# A new process counts from nothing, and finds what was there.
start
expect 200 "$url/logs/payments/stats"
[ "$(of .total_operations),$(of .commits)" = 2,0 ] || die "after a restart: $(cat "$work/body")"
agree
expect_sample wald_committed_records_total 0
expect_sample 'wald_log_committed_offset{log="payments"}' 2
stop
passed
