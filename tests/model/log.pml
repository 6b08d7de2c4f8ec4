/*
 * The log's side of service.pml, which includes this: waking the committer, deciding, one step of the
 * log. wal/wal.c, wal/commit.c, wal/space.c and parts of wal/committer.c.
 */

/* ---- waking ---- */

inline ring_wake()
{
    if
    :: !called -> poll_fd = 1
    :: else
    fi;
    called = 1
}

inline unlock_and_wake()
{
    if
    :: asleep ->
        asleep = 0;
#ifndef PLANT_NO_WAKE
        ring_wake()
#endif
    :: else
    fi
}

inline committer_ready()
{
    ready_list = 1;
    unlock_and_wake()
}

inline log_step_later()
{
    if
    :: !log_ready -> log_ready = 1; committer_ready()
    :: else
    fi
}

/* ---- deciding ---- */

inline decide_held(yes)
{
    each = 0;
    do
    :: each < CLIENTS ->
        if
        :: held & BIT(each) ->
            success[each] = yes;
            if
            :: !yes -> token_end[each] = 0
            :: else
            fi
        :: else
        fi;
        each++
    :: else -> break
    od;
    told = told | held;
    held = 0;
    held_count = 0
}

inline decide_all_failed()
{
    decide_held(0);
#ifndef PLANT_FAIL_FORGETS_QUEUE
    do
    :: queue?each -> token_end[each] = 0; told = told | BIT(each)
    :: empty(queue) -> break
    od;
#endif
    each = 0;
    log_busy = 0
}

inline log_fail()
{
    phase = IDLE;
    log_failed = 1;
    decide_all_failed();
    log_step_later()
}

inline log_refuse()
{
    phase = IDLE;
    next_offset = 0;
    decide_all_failed();
    log_step_later()
}

/* Moves committed_offset past the batch. */
inline publish()
{
    ripe = ripe | watching;
    next_offset = next_offset - held_count;
    each = 0;
    do
    :: each < CLIENTS ->
        token_end[each] = (token_end[each] > held_count -> token_end[each] - held_count : 0);
        each++
    :: else -> break
    od
}

inline commit_succeeded()
{
    publish();
    log_busy = 0;
    if
#ifdef PLANT_FORGET_QUEUE
    :: nempty(queue)
#else
    :: nempty(queue) -> log_step_later()
#endif
    :: empty(queue) && log_closing -> log_step_later()
    :: empty(queue) && !log_closing
    fi;
    decide_held(1);
    each = 0
}

inline commit_done()
{
    if
    :: write_op == AGAIN -> write_op = STAGED /* sent again, by the next ring_wait() */
#ifdef PLANT_OK_AFTER_FAILED_SYNC
    :: write_op == DONE || write_op == FAILED ->
#else
    :: write_op == FAILED -> write_op = NONE; log_fail()
    :: write_op == DONE ->
#endif
        write_op = NONE;
        phase = IDLE;
#ifndef PLANT_ACK_EARLY
        commit_succeeded()
#else
        log_step_later()
#endif
    :: else
    fi
}

inline space_done()
{
    if
    :: space_op == DONE -> space_op = NONE; phase = IDLE; log_step_later()
    :: space_op == FAILED ->
        space_op = NONE;
        if
        :: log_refuse() /* a full disk */
        :: log_fail()
        fi
    :: else
    fi
}

inline rotate_done()
{
    chore = NONE;
    phase = IDLE;
    if
    :: log_step_later()
    :: log_refuse()
    fi
}

/* ---- one step of the log ---- */

/* orders_kick(), for a deletion that waits for the end of the log. */
inline tell_closed()
{
#ifndef PLANT_FORGET_CLOSED
    kicked = (deleting != 0)
#else
    skip
#endif
}

inline take_batch()
{
    do
    :: nempty(queue) && held_count < BATCH_MAX ->
        queue?each;
        held = held | BIT(each);
        held_count++;
        log_busy = 1
    :: empty(queue) || held_count == BATCH_MAX -> break
    od;
    each = 0
}

inline write_held()
{
    if
    :: write_op = STAGED;
        phase = COMMIT;
#ifdef PLANT_ACK_EARLY
        commit_succeeded();
        phase = COMMIT
#endif
    :: spaces -> spaces--; space_op = STAGED; phase = SPACE
    :: rotations -> rotations--; chore = TODO; phase = ROTATE
    fi
}

inline log_step()
{
    log_ready = 0;
    if
    :: phase == CLOSED -> tell_closed()
    :: phase != IDLE && phase != CLOSED
    :: else ->
        if
        :: !held -> take_batch()
        :: else
        fi;
        if
        :: held -> write_held()
        :: !held && log_closing ->
            assert(empty(queue));
            if
            :: told -> log_step_later() /* every handler has run when a log is closed */
            :: else -> phase = CLOSED; tell_closed()
            fi
        :: else
        fi
    fi
}

inline run_ready()
{
    if
    :: ready_list -> ready_list = 0; log_step()
    :: else
    fi
}
