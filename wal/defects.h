/*
 * Deliberate defects, each a mistake that a log like this one has been known to make. They exist
 * only in a test build (WAL_PLANTED_DEFECTS), where the crash simulator switches them on one at a
 * time and has to catch each: a search that cannot fail proves nothing. In every other build
 * DEFECT() is the constant false and the compiler removes the branch.
 */
#ifndef WAL_DEFECTS_H
#define WAL_DEFECTS_H

#include <stdbool.h>

#define WAL_DEFECT_LIST(X)                                                                         \
    X(ACK_BEFORE_COMPLETION, "acknowledge when the write is submitted")                            \
    X(IGNORE_SHORT_WRITE, "take a short write for a whole one")                                    \
    X(SKIP_DATA_SYNC, "write frames without a data sync")                                          \
    X(SKIP_CREATE_DIR_SYNC, "create a log without syncing the directory of logs")                  \
    X(SKIP_ROTATE_DIR_SYNC, "start a segment without syncing the log's directory")                 \
    X(SKIP_DELETE_DIR_SYNC, "delete a log without syncing the directory of logs")                  \
    X(SKIP_CHAIN_CHECK, "recover without checking frame number and chain")                         \
    X(TRUNCATE_AT_FIRST_BAD, "cut the log at the first bad frame, whatever follows")               \
    X(SPACE_OVER_FRAMES, "prepare space again where frames already stand")                         \
    X(READ_PAST_COMMIT, "serve records that are not committed")                                    \
    X(GO_ON_AFTER_FAILED_SYNC, "drop the failed commit and go on appending")                       \
    X(RETRY_FAILED_SYNC, "send a failed durable write again and believe the second answer")        \
    X(FORGET_LAST_FRAME, "recover all frames but the last one")                                    \
    X(LEAVE_TORN_TAIL, "recover without clearing the torn bytes")                                  \
    X(SKIP_BODY_CHECK, "recover frames without verifying their bodies")                            \
    X(EMPTY_STATE_AT_ROTATION, "start a segment without repeating the state")                      \
    X(TRIM_BEFORE_COMMIT, "remove trimmed segments before the trim is durable")                    \
    X(RENAME_BEFORE_HEADER, "give a segment its name before its header is durable")                \
    X(RECOVER_FROM_CACHE, "recover from what the page cache shows, without a sync")                \
    X(SKIP_SALT, "use the same salt for every segment")                                            \
    X(FLUSH_IGNORES_IN_FLIGHT, "let a barrier return while a commit is in flight")                 \
    X(KEEP_OFFSETS_OF_REFUSED, "do not give back the offsets of refused appends")                  \
    X(SKIP_ITEM_CHECK, "serve records without verifying their checksum")                           \
    X(STATE_OUTSIDE_FRAME, "commit state changes in a frame of their own")                         \
    X(SCRUB_FIRST_PLACE, "let a scrub tell of the first damaged place of a log alone")             \
    X(SCRUB_LAST_SEGMENT, "let a scrub judge the last segment of a log alone")                     \
    X(SCRUB_BELIEVE_AT_ONCE, "let a scrub believe what it found at the first look")                \
    X(PACK_SKIP_SYNC, "let a packed segment take the place without a sync of its file")            \
    X(PACK_RENAME_FIRST, "let it take the place before its header and its last frame are written") \
    X(PACK_REMOVE_FIRST, "remove a segment before the packed one has its name")                    \
    X(PACK_WRONG_SEAL, "forget in a packed segment where the original one ended")                  \
    X(PACK_DROP_LAST, "pack all records but the last one")                                         \
    X(PACK_DROP_STATE, "pack records without the changes of the state between them")               \
    X(PACK_ROUND_TIMES, "pack timestamps in microseconds")                                         \
    X(PACK_TRUST_DAMAGE, "pack damaged records as if they were whole")                             \
    X(PACK_STALE_INDEX, "look offsets up in a packed segment where they were before")              \
    X(COMPRESS_OLD_KIND, "compress frames of a segment that older programs take for theirs")       \
    X(UNPACK_UNCHECKED, "serve what damaged frames unpack to")

enum wal_defect_id {
    DEFECT_NONE,
#define X(name, text) DEFECT_##name,
    WAL_DEFECT_LIST(X)
#undef X
        DEFECT_COUNT
};

#ifdef WAL_PLANTED_DEFECTS
extern enum wal_defect_id wal_defect_on; /* defined in defects.c */
#define DEFECT(name) (wal_defect_on == DEFECT_##name)
#else
#define DEFECT(name) false
#endif

#endif
