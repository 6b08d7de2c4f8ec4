/*
 * The way of an append through the service: suspend, enqueue, commit, resume, answer; and the end of
 * the service in the middle of it. README.md beside this file says which process and variable stands
 * for what of the code, what is left out, and which -D plants which mistake.
 *
 * Every run of this model ends: clients have a limited number of requests, and nothing here ticks.
 * So "sooner or later" is "when nothing can move any more", which is what quiet() waits for; and the
 * second half, that nothing goes round for ever, is the search for cycles.
 */

#ifndef CLIENTS
#define CLIENTS 3
#endif
#ifndef REQUESTS
#define REQUESTS 2 /* on each connection, one behind the other */
#endif
/* How often a write comes back with EAGAIN, space or a new segment is wanted, a log is deleted; and
 * how many requests wait for a commit of others, or for none of their own (?ack=none). */
#ifndef AGAINS
#define AGAINS 0
#endif
#ifndef SPACES
#define SPACES 0
#endif
#ifndef ROTATIONS
#define ROTATIONS 0
#endif
#ifndef DELETIONS
#define DELETIONS 0
#endif
#ifndef OPENS
#define OPENS 0 /* how many appends wait for their log to be opened or made first */
#endif
#ifndef POLLS
#define POLLS 0
#endif
#ifndef PUT_OFFS
#define PUT_OFFS 0 /* of those that wait, how many are put off at first, for want of time */
#endif
#ifndef UNHEARDS
#define UNHEARDS 0
#endif
#ifndef HELD_MAX
#define HELD_MAX 3 /* how many appends wait without being suspended; 3: all may */
#endif
#ifdef NO_PARKING
#define PARKS false
#else
#define PARKS true
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* of mhd_run() */
#endif
#define HALVES (2 * REQUESTS) /* a request arrives as its head and then its body */
#define BATCH_MAX 2           /* records of one frame */
#define BIT(c) (1 << (c))

/* ---- what comes from outside ---- */

byte left[CLIENTS] = HALVES; /* halves of requests that a client may still send */
bit input[CLIENTS];          /* one has arrived at the socket */
bit gone[CLIENTS];           /* it has hung up */
bit signalled;      /* readable: the signal's descriptor */
bit unblocked;      /* a signal ends the process at once */
bit killed;
bit patience_over;

/* ---- api/mhd.c and libmicrohttpd, one entry for each connection ---- */

mtype = { FREE, BODY, PUT_OFF, SWALLOW, WAITING, DECIDED };
mtype stage[CLIENTS] = FREE; /* FREE: no exchange, between requests */
bit suspended[CLIENTS];
byte decided; /* struct mhd: to be resumed, as a set */
byte put_off; /* likewise, by the next turn */
byte kept;      /* is_held: they wait, and the library does not know */
byte unserved;  /* decided then, and the library has not come to them since, */
bit news;       /* which is to be done in the next round: news_of_held */
byte detached;  /* whose client is gone: exchanges that go on without a connection */
byte parked;    /* polls that the library has let go of, */
byte returning; /* and those of them that it is to be given back */
byte late;    /* has_waited: put off and resumed, to be answered now */

/* ---- api/ and server/server.c ---- */

byte in_progress, appends_waiting;
bit appends_unheard; /* answered, and not decided; in sets and queues it is number CLIENTS */
byte polling;        /* requests that wait for the log to grow, */
byte watching;       /* those of them that have not been resumed, */
byte ripe;           /* those for which it has grown, */
byte due;            /* and those whose time is up */
bit stopping; /* draining and quiesced with it: the loop does all three in one go */
bit api_freed, ended;

/* ---- wal/: one log and its committer ---- */

bit success[CLIENTS];    /* the status of the handler's call is 0 */
byte token_end[CLIENTS + 1]; /* offsets are counted from committed_offset, */
byte next_offset;        /* which is therefore 0 all the time */
chan queue = [CLIENTS + 1] of { byte }; /* batches that wait, the first BATCH_MAX are the first one */
byte held, held_count;              /* the batch that the committer has taken */
byte told;                          /* decided, their handlers have not run */
mtype = { IDLE, COMMIT, SPACE, ROTATE, CLOSED };
mtype phase = IDLE;
bit log_ready, log_busy, log_failed, log_closing;
bit ready_list; /* the log is on it */
bit asleep = 1;

/* ---- wal/io_uring.c or wal/io_posix.c, the kernel and the disk ---- */

mtype = { NONE, STAGED, STARTED, DONE, FAILED, AGAIN };
mtype write_op = NONE, space_op = NONE;
bit poll_fd = 1; /* the ring's eventfd is readable */
bit called;      /* WAKE_CALLED, or `called` of io_posix.c */

mtype = { TODO, RUN };
mtype chore = NONE; /* the next segment, made by the store's worker */
bit worker_wakes;   /* one of the workers has let go of the lock and is about to */

/* wal/orders.c and api/open.c: sets of clients. */
mtype order = NONE; /* what a worker opens, makes or deletes */
bit order_deletes;
bit kicked;         /* take_turn() is due */
byte deleting;      /* who deletes the log, until it is gone */
byte ordered;       /* who waits for it to be opened or made, */
byte reopened;      /* and has been told so: its handler is called again */
byte deleted;       /* whose deletion has its outcome */
byte logs_waiting;  /* a number */

/* What may still happen. */
byte agains = AGAINS, spaces = SPACES, rotations = ROTATIONS, deletions = DELETIONS, polls = POLLS;
byte unheards = UNHEARDS, put_offs = PUT_OFFS, opens = OPENS;

/* For the properties alone: whose record has been covered by a durable write. */
byte on_disk;

/* The loop's own. */
mtype = { SLEEP, TURN, ANSWER, CLOSE };
mtype doing = SLEEP; /* in epoll_wait(), store_run(), mhd_run(), store_close() */
bit hurry = 1, second_round, has_told, second;
byte each, watcher, current, visited;

#include "log.pml" /* wal/: waking, deciding, one step of the log */

/* ---- suspending and resuming ---- */

inline suspend(c)
{
    assert((stage[c] == BODY || stage[c] == DECIDED) && !suspended[c]);
    stage[c] = WAITING;
    suspended[c] = !(detached & BIT(c))
}

#if HELD_MAX == 0
#define MAY_HOLD false
#elif HELD_MAX == 1
#define MAY_HOLD (kept == 0 && detached == 0)
#else
#define MAY_HOLD true
#endif

inline suspend_briefly(c)
{
    if
    :: MAY_HOLD && !(detached & BIT(c)) ->
        assert((stage[c] == BODY || stage[c] == DECIDED) && !suspended[c]);
        stage[c] = WAITING;
        kept = kept | BIT(c)
    :: !MAY_HOLD || detached & BIT(c) -> suspend(c)
    fi
}

/* One that waits for long; behind it there may be another request in the hands of the library. */
inline suspend_for_long(c)
{
    if
    :: PARKS ->
        assert((stage[c] == BODY || stage[c] == DECIDED) && !suspended[c]);
        stage[c] = WAITING;
        parked = parked | BIT(c)
    :: !PARKS || input[c] -> suspend(c)
    fi
}

/* The transport's: puts the exchange on the list. */
inline resume(c)
{
    assert(stage[c] == WAITING && !((decided | returning) & BIT(c)));
    stage[c] = DECIDED;
    if
    :: kept & BIT(c) -> kept = kept & ~BIT(c); unserved = unserved | BIT(c); news = 1
    :: parked & BIT(c) -> returning = returning | BIT(c)
    :: !((kept | parked) & BIT(c)) -> decided = decided | BIT(c)
    fi
}

/* Its client is gone, but not its append. */
inline detach(c)
{
#ifdef PLANT_FREE_HELD
    kept = kept & ~BIT(c);
    stage[c] = DECIDED;
    finish(c);
    finished(c)
#else
    kept = kept & ~BIT(c);
    detached = detached | BIT(c)
#endif
}

inline suspend_late(c)
{
    assert(stage[c] == BODY && !suspended[c]);
    stage[c] = PUT_OFF;
    suspended[c] = 1;
    put_off = put_off | BIT(c)
}

inline resume_put_off()
{
    each = 0;
    do
    :: each < CLIENTS ->
        if
        :: put_off & BIT(each) ->
            assert(suspended[each] && stage[each] == PUT_OFF);
            suspended[each] = 0;
            stage[each] = BODY
        :: else
        fi;
        each++
    :: else -> break
    od;
    late = late | put_off;
    put_off = 0;
    each = 0
}

inline resume_decided()
{
    each = 0;
    do
    :: each < CLIENTS ->
        if
        :: decided & BIT(each) ->
            assert(suspended[each] == !(detached & BIT(each)) && stage[each] == DECIDED);
            decided = decided & ~BIT(each);
            suspended[each] = 0;
            if
            :: detached & reopened & BIT(each) -> carry_on(each)
            :: detached & ~reopened & BIT(each) ->
                detached = detached & ~BIT(each);
                finish(each); /* request_abandon() */
                finished(each)
            :: else
            fi
        :: else
        fi;
        each++
    :: else -> break
    od;
    each = 0
}

/* give_back_some(): the library reads the request again, and finds it decided. */
inline give_back()
{
    if
    :: !put_off -> parked = parked & ~returning; returning = 0
    :: else
    fi
}

/* Those who wait for the log to grow, as far as they are in the set. */
inline end_watches(set)
{
    watcher = 0;
    do
    :: watcher < CLIENTS ->
        if
        :: (set) & watching & BIT(watcher) ->
            watching = watching & ~BIT(watcher);
            resume(watcher)
        :: else
        fi;
        watcher++
    :: else -> break
    od;
    watcher = 0;
    ripe = ripe & watching;
    due = due & watching
}

#ifdef PLANT_FORGET_POLLS
#define RIPE 0
#else
#define RIPE ripe
#endif

inline run_handlers()
{
    if
    :: told -> end_watches(RIPE) /* api_log_moved(), by the first of them */
    :: else
    fi;
    each = 0;
    do
    :: each < CLIENTS ->
        if
        :: told & BIT(each) ->
            assert(!api_freed);
            resume(each)
        :: else
        fi;
        each++
    :: else -> break
    od;
    if
    :: told & BIT(CLIENTS) -> assert(!api_freed && appends_unheard); appends_unheard = 0
    :: else
    fi;
    told = 0;
    each = 0
}

/* ---- logs that are opened, made and deleted: wal/orders.c ---- */

#define LOG_IS_CLOSED (phase == CLOSED && !log_ready)

/* What is asked for while the log is being deleted waits behind that. */
inline start_order()
{
    if
    :: order == NONE && deleting && LOG_IS_CLOSED -> order = TODO; order_deletes = 1
#ifndef PLANT_FORGET_BEHIND
    :: order == NONE && !deleting && ordered -> order = TODO; order_deletes = 0
#endif
    :: else
    fi
}

/* Who waited for the log to grow is told in done(); appends from now on go to a new log. */
inline finish_delete()
{
    assert(empty(queue) && !held && !told);
    end_watches(watching);
    phase = IDLE;
    log_failed = 0;
    log_closing = stopping;
    next_offset = 0;
    each = 0;
    do
    :: each < CLIENTS ->
        token_end[each] = 0;
        if
        :: deleting & BIT(each) -> resume(each)
        :: else
        fi;
        each++
    :: else -> break
    od;
    each = 0;
    deleted = deleted | deleting;
    deleting = 0
}

inline finish_opening()
{
    each = 0;
    do
    :: each < CLIENTS ->
        if
        :: ordered & BIT(each) -> resume(each)
        :: else
        fi;
        each++
    :: else -> break
    od;
    each = 0;
    reopened = reopened | ordered;
    ordered = 0
}

inline take_turn_of_orders()
{
    kicked = 0;
    if
    :: order == DONE ->
        order = NONE;
        if
        :: order_deletes -> finish_delete()
        :: else -> finish_opening()
        fi
    :: else
    fi;
    start_order()
}

/* ---- a pass of the committer: committer_run() ---- */

inline start_ops()
{
    poll_fd = 0;
    if
    :: write_op == STAGED -> write_op = STARTED
    :: else
    fi;
    if
    :: space_op == STAGED -> space_op = STARTED
    :: else
    fi
}

#define COMPLETED(op) (op == DONE || op == FAILED || op == AGAIN)

/* One that is alone runs on the ring's own thread with plain system calls. */
#ifdef POSIX
#define WRITTEN (write_op != STARTED)
#define TELL_WRITTEN skip
#else
#define WRITTEN true
#define TELL_WRITTEN poll_fd = 1
#endif

inline ring_wait(sleeps)
{
    atomic { start_ops() };
    atomic {
        WRITTEN && (!(sleeps) || called || COMPLETED(write_op) || COMPLETED(space_op)) ->
        called = 0;
        asleep = 0;
        commit_done();
        space_done()
    }
}

#ifdef POSIX
#define OVERLAPS false
#else
#define OVERLAPS true
#endif

inline start_next_frames()
{
    atomic {
        if
        :: OVERLAPS -> run_ready()
        :: else
        fi
    };
    if
    :: OVERLAPS && (write_op == STAGED || space_op == STAGED) -> ring_wait(0)
    :: else
    fi
}

#ifdef PLANT_RESENT_IS_NOT_WORK
#define UNSENT false
#else
#define UNSENT (write_op == STAGED || space_op == STAGED)
#endif

#ifdef PLANT_REST_IS_BLIND
#define WORK false
#else
#define WORK (ready_list || chore == DONE || order == DONE || kicked || UNSENT)
#endif

inline rest()
{
    second = 0;
    asleep = 1;
    if
    :: WORK -> ring_wake()
    :: else
    fi
}

inline committer_run(sleeps)
{
    atomic {
        if
        :: chore == DONE -> rotate_done()
        :: else
        fi;
        if
        :: order == DONE || kicked -> take_turn_of_orders()
        :: else
        fi;
        run_ready();
        asleep = !(ready_list || chore == DONE || order == DONE || kicked)
    };
    ring_wait(sleeps && asleep);
    second = 0;
    do
    :: true ->
        if
        :: (!second && told) || (second && has_told) -> start_next_frames()
        :: else
        fi;
        atomic {
            has_told = (told && !second);
            run_handlers();
            if
            :: second -> rest(); break
            :: else -> second = 1
            fi
        }
    od
}

/* ---- an exchange ---- */

inline finished(c)
{
    assert(stage[c] != WAITING && stage[c] != PUT_OFF);
    late = late & ~BIT(c);
    stage[c] = FREE;
    in_progress--
}

/* What is closed is as if it were silent for ever. */
inline close(c)
{
    left[c] = 0;
    input[c] = 0;
    gone[c] = 0
}

inline answer(c)
{
    finished(c);
    if
    :: stopping -> close(c) /* "Connection: close" */
    :: else
    fi
}

/* request_finish(): here a receipt is given out. */
inline finish(c)
{
    if
    :: polling & BIT(c) -> polling = polling & ~BIT(c)
    :: (reopened | deleted) & BIT(c) ->
        assert(stopping || deleted & BIT(c)); /* else its append is to be begun */
        reopened = reopened & ~BIT(c);
        deleted = deleted & ~BIT(c);
#ifndef PLANT_ABANDON_FORGETS
        logs_waiting--
#endif
    :: !((polling | reopened | deleted) & BIT(c)) ->
        if
        :: success[c] ->
            assert((on_disk & BIT(c)) && token_end[c] == 0)
        :: else
        fi;
        success[c] = 0;
        token_end[c] = 0;
        on_disk = on_disk & ~BIT(c);
        appends_waiting--
    fi
}

inline enqueue(c)
{
    assert(!stopping && phase != CLOSED);
    next_offset++;
    if
    :: c < CLIENTS -> token_end[c] = next_offset
    :: else
    fi;
    queue!c;
    if
    :: !log_ready && !log_busy -> log_ready = 1; committer_ready()
    :: else
    fi
}

/* wal_append() says no, or there is no room. */
inline refuse(c)
{
#ifdef PLANT_REFUSED_TWICE
    queue!c;
    log_step_later();
#endif
#ifdef PLANT_FORGET_REFUSED
    skip
#else
    resume(c)
#endif
}

#ifdef PLANT_DRAIN_AT_THE_DOOR_ONLY
#define CLOSING false
#else
#define CLOSING log_closing
#endif

inline wal_append(c)
{
    if
    :: log_failed || CLOSING -> refuse(c)
    :: !log_failed && !CLOSING -> enqueue(c)
    :: !log_failed && !CLOSING -> refuse(c)
    fi
}

inline answer_append(c)
{
    appends_waiting++;
#ifdef PLANT_SUSPEND_LATE
    wal_append(c);
    suspend(c)
#else
    suspend_briefly(c);
    wal_append(c)
#endif
}

/* ?ack=none: answered whatever becomes of it. */
inline answer_unheard(c)
{
    if
    :: !log_failed && !CLOSING -> appends_unheard = 1; enqueue(CLIENTS)
    :: else
    fi;
    answer(c)
}

/* A long poll, or a wait for an offset to be durable. */
inline answer_poll(c)
{
    if
    :: stopping -> answer(c)
    :: else ->
        late = late & ~BIT(c);
        polling = polling | BIT(c);
        suspend_for_long(c);
        watching = watching | BIT(c)
    fi
}

/* store_open_async() and store_create_async(). */
inline order_log(c)
{
    suspend(c);
    logs_waiting++;
    ordered = ordered | BIT(c);
    start_order()
}

/* go_on_opened(): the handler is called again, and finds the log there, or that it is being deleted,
 * or that the service stops. */
inline go_on(c)
{
    reopened = reopened & ~BIT(c);
    logs_waiting--;
    if
    :: stopping -> answer(c)
    :: !stopping && deleting -> order_log(c)
    :: !stopping && !deleting -> answer_append(c)
    fi
}

/* The same without a connection. What is refused again has its turn later. */
inline carry_on(c)
{
    reopened = reopened & ~BIT(c);
    logs_waiting--;
    if
    :: stopping -> detached = detached & ~BIT(c); finished(c)
    :: !stopping && deleting -> order_log(c)
    :: !stopping && !deleting -> answer_append(c)
    fi
}

#ifdef PLANT_ABANDON
#define LEAVES_BEHIND(c) false
#else
#define LEAVES_BEHIND(c) (reopened & BIT(c) && !stopping)
#endif

/* Its log is there, and the append is to be begun. */
inline leave_behind(c)
{
    detached = detached | BIT(c);
    decided = decided | BIT(c)
}

/* What libmicrohttpd finds to do on a connection, and does. */
inline handle(c)
{
    if
    :: gone[c] ->
        unserved = unserved & ~BIT(c);
        if
        :: kept & BIT(c) -> detach(c)
        :: !(kept & BIT(c)) && stage[c] == DECIDED && LEAVES_BEHIND(c) -> leave_behind(c)
        :: !(kept & BIT(c)) && stage[c] == DECIDED && !LEAVES_BEHIND(c) -> finish(c); finished(c)
        :: !(kept & BIT(c)) && stage[c] != DECIDED && stage[c] != FREE -> finished(c)
        :: !(kept & BIT(c)) && stage[c] == FREE
        fi;
        close(c)
    :: stage[c] == FREE && input[c] ->
        input[c] = 0;
        in_progress++;
        stage[c] = BODY;
        if
        :: stopping ->
            if
            :: stage[c] = SWALLOW
            :: answer(c)
            fi
        :: else
        fi
    :: stage[c] == SWALLOW && input[c] -> input[c] = 0; answer(c)
    :: stage[c] == BODY && late & BIT(c) -> answer_poll(c)
    :: stage[c] == BODY && input[c] && !(late & BIT(c)) ->
        input[c] = 0;
        if
        :: deleting -> order_log(c)
        :: !deleting -> answer_append(c)
        :: !deleting && opens -> opens--; order_log(c)
        :: !deleting && deletions -> deletions--; begin_delete(c)
        :: !deleting && polls -> polls--; answer_poll(c)
        :: !deleting && polls && put_offs -> polls--; put_offs--; suspend_late(c)
        :: !deleting && unheards -> unheards--; answer_unheard(c)
        fi
    :: stage[c] == DECIDED && !suspended[c] && reopened & BIT(c) -> go_on(c)
    :: stage[c] == DECIDED && !suspended[c] && !(reopened & BIT(c)) ->
        unserved = unserved & ~BIT(c);
        finish(c);
        answer(c)
    fi
}

/* store_delete_async(): its committer closes the log, and then a worker removes it. */
inline begin_delete(c)
{
    suspend(c);
    logs_waiting++;
    deleting = BIT(c);
    log_closing = 1;
    log_step_later()
}

/* What comes behind a request that waits is read when that has been answered. */
#define HAS_WORK(c) ((input[c] && stage[c] != WAITING) || stage[c] == DECIDED || late & BIT(c))
#define IS_OUTSIDE(c) ((parked | detached) & BIT(c))
#ifdef PLANT_HANG_UP_WHILE_SUSPENDED
#define NEWS(c) (gone[c] || (!suspended[c] && HAS_WORK(c)))
#else
#define NEWS(c) (!suspended[c] && !IS_OUTSIDE(c) && (gone[c] || HAS_WORK(c)))
#endif
/* And what its descriptor tells of, or it says itself that there is more to do. */
#define IS_TOLD(c) (NEWS(c) && (gone[c] || !(unserved & BIT(c))))
/* A client has hung up that waits outside; the kernel tells of it once. */
#define HAS_LEFT(c) (gone[c] && (parked & BIT(c)) && stage[c] == WAITING)
#define DUE(c) (NEWS(c) && !(visited & BIT(c)))
#if CLIENTS == 3
#define ANY(what) (what(0) || what(1) || what(2))
#elif CLIENTS == 2
#define ANY(what) (what(0) || what(1))
#endif

inline take_turn()
{
    if
    :: DUE(0) -> current = 0
    :: DUE(1) -> current = 1
#if CLIENTS == 3
    :: DUE(2) -> current = 2
#endif
    fi;
    visited = visited | BIT(current);
    handle(current);
    current = 0
}

/* answer_those_who_left() */
inline answer_left()
{
    each = 0;
    do
    :: each < CLIENTS ->
        if
#ifdef PLANT_LEFT_TWICE
        :: gone[each] && (parked & BIT(each)) ->
            watching = watching | BIT(each);
#else
        :: HAS_LEFT(each) ->
#endif
            end_watches(BIT(each))
        :: else
        fi;
        each++
    :: else -> break
    od;
    each = 0
}

/* Each connection has its turn in a round, in any order; a second round may follow. */
inline run_round()
{
    do
    :: ANY(DUE) && doing == ANSWER -> take_turn()
    :: else -> break
    od
}

inline end_rounds()
{
    visited = 0;
    second_round = 0;
    end_watches(due);
#if defined(PLANT_SLEEP_WITH_DECIDED)
    hurry = 0;
#elif defined(PLANT_SLEEP_WITH_PUT_OFF)
    hurry = (decided || returning || news);
#elif defined(PLANT_NO_ROUND_FOR_HELD)
    hurry = (decided || put_off || returning);
#elif defined(PLANT_SLEEP_WITH_RETURNING)
    hurry = (decided || put_off || news);
#elif defined(PLANT_NEVER_SLEEPS)
    hurry = 1;
#else
    hurry = (decided || put_off || returning || news);
#endif
    doing = SLEEP
}

/* ---- the loop: server/server.c ---- */

inline begin_stop()
{
    if
    :: signalled && !stopping ->
        signalled = 0;
        stopping = 1;
        log_closing = 1;
        log_step_later();
#ifndef PLANT_STOP_FORGETS_POLLS
        end_watches(watching);
#endif
        unblocked = 1
    :: else
    fi
}

#define IS_SUSPENDED(c) (suspended[c])

#if defined(PLANT_STOP_WITH_WAITING) || defined(PLANT_FREE_WITH_WAITING)
#define WAITING_FOR_DISK 0
#elif defined(PLANT_STOP_WITH_HELD)
#define WAITING_FOR_DISK (UNHEARD + logs_waiting > 0 || ANY(IS_SUSPENDED))
#else
#define WAITING_FOR_DISK (appends_waiting + UNHEARD + logs_waiting > 0 || ANY(IS_SUSPENDED) || kept || detached || parked)
#endif
#ifdef PLANT_STOP_FORGETS_UNHEARD
#define UNHEARD 0
#else
#define UNHEARD appends_unheard
#endif
#define MUST_STAY (in_progress + UNHEARD > 0 && (!patience_over || WAITING_FOR_DISK))

inline mhd_close()
{
#ifndef PLANT_FREE_WITH_WAITING
    assert(kept == 0 && detached == 0 && unserved == 0);
    assert(parked == 0);
    assert(appends_waiting == 0 && logs_waiting == 0 && decided == 0);
    assert(order == NONE && !deleting && !ordered);
#endif
    current = 0;
    do
    :: current < CLIENTS ->
#ifdef PLANT_FREE_WITH_WAITING
        suspended[current] = 0;
        kept = 0;
        detached = 0;
        unserved = 0;
        if
        :: stage[current] == WAITING -> stage[current] = DECIDED
        :: else
        fi;
#endif
        assert(!suspended[current]); /* else MHD_stop_daemon() aborts the process */
        if
        :: stage[current] != FREE -> finished(current)
        :: else
        fi;
        close(current);
        current++
    :: else -> break
    od;
    current = 0
}

#define EVENTS (hurry || (signalled && !stopping) || poll_fd || ANY(IS_TOLD) || ANY(HAS_LEFT) || due)

active proctype loop()
{
    {
end_asleep:
        do
        :: atomic {
            if
            :: doing == SLEEP && (!stopping || MUST_STAY) && EVENTS -> doing = TURN; begin_stop()
            :: doing == CLOSE && !LOG_IS_CLOSED
            fi
           };
           committer_run(doing != TURN);
           if
           :: doing == TURN -> atomic {
                answer_left();
                resume_decided();
                news = 0;
                resume_put_off();
                give_back();
                doing = ANSWER
            }
           :: else
           fi
        /* mhd_run() */
        :: atomic { doing == ANSWER && ANY(DUE) -> run_round() }
        :: atomic {
            doing == ANSWER && !ANY(DUE) && (ANY(NEWS) || put_off || returning) &&
            second_round < ROUNDS - 1 ->
            second_round = 1;
            news = 0;
            resume_put_off();
            give_back();
            visited = 0
           }
        :: atomic { doing == ANSWER && !ANY(DUE) -> end_rounds() }
        /* stop() */
        :: atomic {
            doing == SLEEP && stopping && !MUST_STAY ->
            mhd_close();
            assert(in_progress + UNHEARD == 0);
            api_freed = 1;
            log_step_later();
            doing = CLOSE
           }
        :: atomic {
            doing == CLOSE && LOG_IS_CLOSED ->
            assert(empty(queue) && !held && !told && write_op == NONE && space_op == NONE);
            ended = 1;
            break
           }
        od
    } unless { killed }
}

/* ---- the world around it ---- */

/* Sends when it likes, also without waiting for answers, and hangs up when it likes. The clients are
 * alike, so it is no loss to have them begin one after the other. */
#define MAY_HANG_UP(c) (!gone[c] && left[c] < HALVES && \
                        (left[c] > 0 || input[c] || stage[c] != FREE))

proctype client(byte c)
{
end:
    do
    :: atomic {
        left[c] > 0 && !input[c] && (c == 0 || left[c - 1] < HALVES) ->
        left[c]--;
        input[c] = 1
       }
    :: atomic { MAY_HANG_UP(c) -> gone[c] = 1; left[c] = 0 }
    od
}

/* What the disk says of a write, and when. A record is only safe once a durable write has ended
 * well; of one that failed nothing is known. */
active proctype disk()
{
    byte c;
end:
    do
    :: atomic {
        write_op == STARTED ->
        write_op = DONE;
        TELL_WRITTEN;
        do
        :: c < CLIENTS ->
            if
            :: held & BIT(c) -> on_disk = on_disk | BIT(c)
            :: else
            fi;
            c++
        :: else -> break
        od;
        c = 0
       }
    :: atomic { write_op == STARTED -> write_op = FAILED; TELL_WRITTEN }
    :: atomic { write_op == STARTED && agains -> agains--; write_op = AGAIN; TELL_WRITTEN }
    :: atomic { space_op == STARTED -> space_op = DONE; poll_fd = 1 }
    :: atomic { space_op == STARTED -> space_op = FAILED; poll_fd = 1 }
    od
}

/* The store's workers: the only other threads that wake the loop. */
active proctype worker()
{
end:
    do
    :: atomic { chore == TODO -> chore = DONE; worker_wakes = worker_wakes || asleep; asleep = 0 }
    :: atomic { order == TODO -> order = DONE; worker_wakes = worker_wakes || asleep; asleep = 0 }
    :: atomic { worker_wakes -> worker_wakes = 0; ring_wake() }
    od
}

/* Of a process that has been ended nothing is left; all such states are one. */
inline forget_all()
{
    each = 0;
    do
    :: each < CLIENTS ->
        close(each);
        stage[each] = FREE;
        suspended[each] = 0;
        success[each] = 0;
        token_end[each] = 0;
        each++
    :: else -> break
    od;
    do
    :: queue?_
    :: empty(queue) -> break
    od;
    each = 0;
    signalled = 0; unblocked = 0; patience_over = 0;
    kept = 0; unserved = 0; news = 0; detached = 0; parked = 0; returning = 0;
    put_off = 0; late = 0; put_offs = 0; polling = 0; watching = 0; ripe = 0; due = 0; appends_unheard = 0; polls = 0; unheards = 0;
    decided = 0; in_progress = 0; appends_waiting = 0; stopping = 0; api_freed = 0;
    next_offset = 0; held = 0; held_count = 0; told = 0; on_disk = 0;
    phase = IDLE; log_ready = 0; log_busy = 0; log_failed = 0; log_closing = 0;
    ready_list = 0; asleep = 0; write_op = NONE; space_op = NONE; poll_fd = 0; called = 0;
    order = NONE; order_deletes = 0; kicked = 0; deleting = 0; ordered = 0; reopened = 0; deleted = 0; logs_waiting = 0; opens = 0;
    chore = NONE; agains = 0; spaces = 0; rotations = 0; deletions = 0;
    hurry = 0; worker_wakes = 0; doing = SLEEP; second = 0; second_round = 0; has_told = 0; current = 0; visited = 0
}

/* Nothing moves and nothing is under way, unless a client sends or a signal comes; clients may be
 * silent from now on, and signals may never come. */
#define AT_REST (doing == SLEEP && !EVENTS && write_op != STARTED && space_op != STARTED && \
                 chore != TODO && order != TODO && !worker_wakes)
#define NOBODY_WAITS (decided == 0 && appends_waiting + appends_unheard + logs_waiting == 0 && !ANY(IS_FORGOTTEN))
#define WAITS(c) (suspended[c] || (kept | unserved | detached | parked) & BIT(c))
#define IS_FORGOTTEN(c) (WAITS(c) && (stopping || !(watching & ~ripe & BIT(c))))

bit forgotten;

inline nobody_is_forgotten()
{
    forgotten = AT_REST && !NOBODY_WAITS;
    assert(!forgotten)
}

/* A signal at any time, and a second one. */
active proctype operator()
{
    atomic {
        nobody_is_forgotten();
        signalled = 1
    };
end:
    atomic {
        unblocked && !ended ->
        nobody_is_forgotten();
        killed = 1;
        forget_all()
    }
}

/* How long a stop waits for clients that send and take nothing. */
active proctype clock()
{
end:
    atomic {
        stopping && !ended ->
        nobody_is_forgotten();
        patience_over = 1
    }
}

/* The time of one that waits for the log to grow is up. */
active proctype deadline()
{
    byte c;
end:
    do
    :: atomic {
        watching & ~due ->
        if
        :: watching & ~due & 1 -> c = 0
        :: watching & ~due & 2 -> c = 1
        :: watching & ~due & 4 -> c = 2
        fi;
        due = due | BIT(c);
        c = 0
       }
    od
}

/* In the end nothing can move any more. */
active proctype quiet()
{
    timeout;
    assert(killed || ended)
}

init
{
    atomic {
        run client(0);
        run client(1);
#if CLIENTS == 3
        run client(2)
#endif
    }
}
