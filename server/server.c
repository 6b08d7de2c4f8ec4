/*
 * The order of starting, the loop, and the exact reverse.
 *
 * One thread does everything: its epoll watches the signals, the HTTP library's sockets and the
 * committer's ring. A turn of the loop first lets the committer reap and start writes, then answers
 * what has been decided and takes in new requests. What arrives during a write is the next commit.
 *
 * Stopping: appends are refused, connections are closed behind their answers, what is queued is
 * committed and answered, then the library stops and the store is closed.
 */
#include "server/server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "api/auth.h"
#include "api/mhd.h"
#include "api/process.h"
#include "server/disk.h"
#include "server/front.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/remedy.h"
#include "server/sandbox.h"
#include "wal/base.h"
#include "wal/store.h"

#define FILES_WANTED (1u << 20)
/* Of those, what neither connections nor logs may take: rings, directories, files being read. */
#define FILES_KEPT 64u
/* An error that no system call has. */
#define SANDBOX_REFUSED (-4095)
#define EVENT_QUIET_US UINT64_C(10000000)
/* How often a stop looks whether its time is up. */
#define STOP_TURN_US UINT64_C(100000)
/* For how long a turn of it asks the service manager not to lose patience. */
#define STOP_EXTENSION_US 15000000

/* What the sandbox has no room for ends a debug build, so that tests find it. */
#ifdef SANDBOX_KILLS
#define KILL_STRAY_CALLS true
#else
#define KILL_STRAY_CALLS false
#endif

struct server {
    const struct config *config;
    bool is_volatile;
    unsigned connections_max, followers_max;
    struct listener listener;
    struct sandbox sandbox;
    struct api_layer layers[SANDBOX_LAYERS];
    struct store *store;
    struct api *api;
    struct mhd *mhd;
    struct tls_identity *identity; /* NULL: no TLS */
    struct front *front;           /* likewise */
    struct auth *auth;             /* until the API has it */
    struct notify notify;
    int epoll_fd, signal_fd;
    bool stopping;

    /* The event told last, for which repeats are only counted for a while. */
    struct {
        const char *name;
        int error;
        uint64_t at_us, repeats;
    } told;
};

/* ---- what the operator is told ---- */

static int fail_with(const char *sentence)
{
    struct log_line line;
    log_begin(&line, "error", "start_failed");
    log_quoted(&line, "reason", sentence);
    log_end(&line);
    return EXIT_FAILURE;
}

static int fail(const char *what, const char *reason)
{
    char sentence[512];
    snprintf(sentence, sizeof(sentence), "%s: %s", what, reason);
    return fail_with(sentence);
}

static void warn(const char *event, const char *reason)
{
    struct log_line line;
    log_begin(&line, "warning", event);
    log_quoted(&line, "reason", reason);
    log_end(&line);
}

/* A disk that fails does so for every request: the first is told, the others are counted. */
static void tell(void *context, const struct api_event *event)
{
    struct server *server = context;
    uint64_t now = api_now_us();
    bool same = server->told.name && strcmp(server->told.name, event->name) == 0 &&
                server->told.error == event->error;
    if (same && now - server->told.at_us < EVENT_QUIET_US) {
        server->told.repeats++;
        return;
    }
    struct log_line line;
    log_begin(&line, event->error < 0 ? "error" : "info", event->name);
    if (event->log)
        log_text(&line, "log", event->log);
    if (event->error < 0) {
        log_number(&line, "errno", (uint64_t)-event->error);
        log_quoted(&line, "error", strerror(-event->error));
    }
    if (same && server->told.repeats > 0)
        log_number(&line, "repeats", server->told.repeats);
    log_end(&line);
    server->told.name = event->name;
    server->told.error = event->error;
    server->told.at_us = now;
    server->told.repeats = 0;
}

/* Each place once, and not as repeats of one event: which they are is what matters. */
static void tell_damage(const struct server *server)
{
    struct store_damage damage;
    while (store_take_damage(server->store, &damage)) {
        struct log_line line;
        log_begin(&line, "error", "damage_found");
        log_text(&line, "log", damage.log);
        log_number(&line, "segment", damage.segment_no);
        log_number(&line, "begin", damage.position);
        log_number(&line, "end", damage.end);
        log_number(&line, "offset", damage.offset);
        if (damage.offset_end != UINT64_MAX)
            log_number(&line, "offset_end", damage.offset_end);
        log_quoted(&line, "what", damage.what);
        log_end(&line);
    }
}

/* "sandbox=privileges,dumps", and behind it what is missing and the first reason. */
static void add_sandbox(struct log_line *line, const struct sandbox *sandbox)
{
    const struct sandbox_layer *missing = sandbox_missing(sandbox);
    char names[96];
    sandbox_list(sandbox, true, names, sizeof(names));
    log_text(line, "sandbox", names[0] ? names : "none");
    if (!missing)
        return;
    sandbox_list(sandbox, false, names, sizeof(names));
    log_text(line, "sandbox_lacks", names);
    log_quoted(line, "sandbox_reason", missing->text);
}

static void tell_ready(const struct server *server)
{
    struct store_stats stats;
    struct log_line line;
    store_stats(server->store, &stats);
    log_begin(&line, "info", "ready");
    log_text(&line, "listen", server->listener.address);
    if (server->front)
        log_text(&line, "tls", "on");
    log_text(&line, "backend", stats.backend);
    log_quoted(&line, "reason", stats.reason);
    add_sandbox(&line, &server->sandbox);
    log_text(&line, "data", server->config->data);
    log_text(&line, "version", WALD_VERSION);
    log_number(&line, "pid", (uint64_t)getpid());
    log_end(&line);
}

/* ---- starting ---- */

static int check_disk(struct server *server)
{
    server->is_volatile = disk_is_in_memory(server->config->data);
    if (!server->is_volatile)
        return 0;
    if (!server->config->allow_volatile)
        return fail(server->config->data,
                    "this directory is in memory (tmpfs or ramfs), and everything in it goes with "
                    "the power; choose one on a disk, or accept that with --allow-volatile");
    warn("volatile", "the data directory is in memory: nothing survives a power cut");
    return 0;
}

/* Not refused: some of these keep what they confirm. */
static void warn_of_disk(const char *path)
{
    struct disk disk;
    char reason[256];
    disk_look(path, &disk);
    if (disk.is_remote) {
        snprintf(reason, sizeof(reason),
                 "the data directory is on %s: what survives a power cut is up to the other side, "
                 "and its locks may not keep a second instance away",
                 disk.type);
        warn("remote_disk", reason);
    }
    if (disk.no_barriers)
        warn("no_barriers", "the data directory is mounted without write barriers: a power cut can "
                            "take records that were acknowledged, unless the disk's cache has a "
                            "battery; mount it without nobarrier");
}

/* Whoever may write in it can put another log in the place of one, whatever the modes of the files. */
static void warn_of_strangers_in(const char *path)
{
    struct stat about;
    if (stat(path, &about) == 0 && (about.st_mode & S_IWOTH))
        warn("writable_by_others", "everybody on this machine may write in the data directory, and "
                                   "so replace what is in it: chmod o-w it");
}

/* Each open log and each connection is a file. Nothing here uses select(), so many are fine. */
static unsigned raise_file_limit(void)
{
    struct rlimit files;
    must(getrlimit(RLIMIT_NOFILE, &files) == 0);
    rlim_t soft = files.rlim_cur;
    files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
    if (files.rlim_cur < soft || setrlimit(RLIMIT_NOFILE, &files) < 0)
        files.rlim_cur = soft;
    return (unsigned)min_u64(files.rlim_cur, FILES_WANTED);
}

static unsigned clients_max(const struct server *server)
{
    return server->connections_max + server->followers_max;
}

/* With TLS, the socket of the client, and a pair to get at the plain bytes. */
static unsigned files_per_client(const struct server *server)
{
    return server->identity ? 3 : 1;
}

static uint64_t client_files(const struct server *server)
{
    return (uint64_t)clients_max(server) * files_per_client(server);
}

/* Connections, followers, and files that logs write to share the limit of open files. */
static int share_files(struct server *server, unsigned files)
{
    uint64_t connections = server->config->connections_max;
    uint64_t followers = server->config->followers_max;
    uint64_t share = files / 5 / files_per_client(server);
    char what[128];
    server->connections_max = connections ? (unsigned)connections : (unsigned)max_u64(share, 16);
    server->followers_max = followers ? (unsigned)followers : (unsigned)max_u64(share, 16);
    if (files >= client_files(server) + 2 * FILES_KEPT || (!connections && !followers))
        return 0;
    snprintf(what, sizeof(what),
             "connections-max is %u, followers-max is %u, and %u files may be "
             "open",
             server->connections_max, server->followers_max, files);
    return fail(what, "each connection and each stream of events is a file, and the logs need "
                      "some, too; allow more (ulimit -n), or lower connections-max or "
                      "followers-max");
}

/* ---- the sandbox ---- */

/* Called by the store before it makes threads, which then have no more rights than this one. */
static int enter_sandbox(void *context)
{
    struct server *server = context;
    warn_of_disk(server->config->data); /* the last look at /proc */
    warn_of_strangers_in(server->config->data);
    const struct config *config = server->config;
    const char *const read_again[] = {config->tokens, config->tls_cert, config->tls_key};
    const char *readable[ARRAY_SIZE(read_again)], *removable = server->listener.path;
    size_t readable_count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(read_again); i++) {
        if (read_again[i])
            readable[readable_count++] = read_again[i];
    }
    const struct sandbox_plan plan = {
        .mode = (enum sandbox_mode)config->sandbox,
        .data = config->data,
        .readable = readable,
        .readable_count = readable_count,
        .removable = &removable,
        .removable_count = removable[0] ? 1 : 0,
    };
    return sandbox_enter(&server->sandbox, &plan) ? 0 : SANDBOX_REFUSED;
}

static int fail_sandbox(const struct server *server)
{
    const struct sandbox_layer *missing = sandbox_missing(&server->sandbox);
    char sentence[400];
    snprintf(sentence, sizeof(sentence),
             "--sandbox on: %s: %s; --sandbox auto would do without, and say so", missing->name,
             missing->text);
    return fail_with(sentence);
}

/* When all is open that will be needed. */
static int close_sandbox(struct server *server)
{
    struct store_stats stats;
    store_stats(server->store, &stats);
    sandbox_note_ring(&server->sandbox, strcmp(stats.backend, "uring") == 0, stats.ring_restricted);
    return sandbox_close(&server->sandbox, KILL_STRAY_CALLS) ? 0 : fail_sandbox(server);
}

static void name_layers(struct server *server)
{
    for (unsigned i = 0; i < SANDBOX_LAYERS; i++) {
        const struct sandbox_layer *layer = &server->sandbox.layers[i];
        server->layers[i] = (struct api_layer){layer->name, layer->active, layer->text};
    }
}

/* `reason` is what the store says, and may be empty. */
static int fail_store(const struct config *config, int rc, const char *reason)
{
    char remedy[400], sentence[720];
    if (rc == -EWOULDBLOCK)
        return fail(config->data, "another process has this data directory open; stop that one, or "
                                  "choose another directory with --data");
    remedy_describe(config->data, rc, remedy, sizeof(remedy));
    if (!remedy[0] && config->io == STORE_IO_URING)
        snprintf(remedy, sizeof(remedy),
                 "; --io auto would take plain system calls, with the same "
                 "guarantees");
    /* The store names the directory where it is the directory's fault. */
    bool named = strncmp(reason, config->data, strlen(config->data)) == 0;
    snprintf(sentence, sizeof(sentence), "%s%s%s%s", named ? "" : config->data, named ? "" : ": ",
             reason[0] ? reason : strerror(-rc), remedy);
    return fail_with(sentence);
}

static int open_store(struct server *server, unsigned files)
{
    const struct config *config = server->config;
    char reason[256] = "";
    struct store_config store;
    store_config_default(&store);
    store.io = (enum store_io)config->io;
    store.direct = (enum store_direct)config->direct;
    store.threads = false;
    store.logs_max = (unsigned)config->logs_max;
    store.log_count_max = config->log_count_max;
    store.memory_bytes_max = config->queue_memory_bytes;
    store.log.record_bytes_max = (uint32_t)config->record_bytes_max;
    store.log.queue_bytes_max = config->queue_bytes_max;
    store.log.batch_delay_us = (uint32_t)config->batch_delay_us;
    store.log.segment_bytes = config->segment_bytes;
    store.pack = config->pack;
    store.pack_compression = (enum store_compression)config->pack_compression;
    store.pack_bytes_per_s = config->pack_rate;
    store.limits = (struct wal_limits){.retain_age_us = config->retain_age_us,
                                       .retain_bytes = config->retain_bytes,
                                       .retain_records = config->retain_records,
                                       .quota_bytes = config->quota_bytes,
                                       .quota_records = config->quota_records};
    store.scrub_bytes_per_s = config->scrub_bytes_per_s;
    store.scrub_interval_us = config->scrub_interval_us;
    if (files > client_files(server) + FILES_KEPT)
        store.write_handles_max =
            (unsigned)min_u64(store.write_handles_max, files - client_files(server) - FILES_KEPT);

    store.before_threads = enter_sandbox;
    store.before_threads_context = server;
    int rc = store_open(&server->store, config->data, &store, reason);
    if (rc == SANDBOX_REFUSED)
        return fail_sandbox(server);
    if (rc < 0)
        return fail_store(config, rc, reason);
    /* The ring is made by the first run, on the thread that will go on running it. */
    rc = store_run(server->store, 0, 0);
    return rc < 0 ? fail("the disk backend", strerror(-rc)) : 0;
}

static int open_tokens(struct server *server)
{
    const char *path = server->config->tokens;
    char reason[AUTH_REASON_BYTES], sentence[1024];
    if (!path || auth_load(&server->auth, path, reason) == 0)
        return 0;
    snprintf(sentence, sizeof(sentence), "the file of tokens, %s: %s", path, reason);
    return fail_with(sentence);
}

static int open_certificate(struct server *server)
{
    const struct config *config = server->config;
    char reason[TLS_REASON_BYTES];
    if (!config->tls_cert != !config->tls_key)
        return fail_with("tls-cert and tls-key go together: the certificate and its key");
    if (!config->tls_cert ||
        tls_identity_load(&server->identity, config->tls_cert, config->tls_key, reason) == 0)
        return 0;
    return fail_with(reason);
}

static int open_api(struct server *server)
{
    const struct config *config = server->config;
    const struct api_config api = {
        .store = server->store,
        .version = WALD_VERSION,
        .record_bytes_max = (uint32_t)config->record_bytes_max,
        .batch_bytes_max = (uint32_t)config->batch_bytes_max,
        .header_bytes_max = (uint32_t)config->header_bytes_max,
        .long_poll_max_us = config->long_poll_timeout_us,
        .followers_max = server->followers_max,
        .follow_bytes_total = config->answer_memory_bytes,
        .answer_timeout_us = config->answer_timeout_us,
        .heartbeat_us = config->heartbeat_us,
        .stream_life_us = config->stream_life_us,
        .auto_create = config->auto_create,
        .is_volatile = server->is_volatile,
        .space_floor = config->space_floor,
        .retain_interval_us = config->retain_interval_us,
        .metrics_logs_max = (uint32_t)config->metrics_logs_max,
        .hosts = config->hosts.names,
        .host_count = config->hosts.count,
        .origins = config->cors_origins.names,
        .origin_count = config->cors_origins.count,
        .auth = server->auth,
        .open = config->open,
        .client_connections_max = (uint32_t)config->client_connections_max,
        .client_requests_per_second = config->client_requests_per_second,
        .client_bytes_per_second = config->client_bytes_per_second,
        .any_host = !server->listener.is_loopback && config->hosts.count == 0,
        .is_tls = config->tls_cert != NULL,
        .layers = server->layers,
        .layer_count = SANDBOX_LAYERS,
        .tell = tell,
        .context = server,
    };
    int rc = api_new(&server->api, &api);
    if (rc == 0)
        server->auth = NULL;
    return rc < 0 ? fail("starting", strerror(-rc)) : 0;
}

static int open_front(struct server *server)
{
    const struct config *config = server->config;
    const struct mhd_config mhd = {
        .listen_fd = server->listener.fd,
        .connections_max = server->connections_max,
        .header_bytes_max = (uint32_t)config->header_bytes_max,
        .body_bytes_total = config->body_memory_bytes,
        .answer_bytes_total = config->answer_memory_bytes,
        .header_timeout_us = config->header_timeout_us,
        .body_timeout_us = config->body_timeout_us,
        .answer_timeout_us = config->answer_timeout_us,
        .idle_timeout_us = config->idle_timeout_us,
    };
    server->listener.fd = -1;
    int rc = mhd_open(&server->mhd, &mhd, server->api);
    return rc < 0 ? fail("libmicrohttpd", "it does not start; is there memory, and a file left?")
                  : 0;
}

/* Followers are connections to it like any others. */
static int open_tls(struct server *server)
{
    const struct config *config = server->config;
    const struct front_config front = {
        .listen_fd = server->listener.fd,
        .connections_max = clients_max(server),
        .per_address_max = (unsigned)config->client_connections_max,
        .handshake_us = config->header_timeout_us,
        .taking_us = config->answer_timeout_us,
        .first = server->identity,
    };
    if (!server->identity)
        return 0;
    server->listener.fd = -1;
    int rc = front_open(&server->front, &front);
    return rc < 0 ? fail("TLS", strerror(-rc)) : 0;
}

static int watch(struct server *server, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0 || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return fail("epoll", strerror(fd < 0 ? -fd : errno));
    return 0;
}

/* Blocked from the start, so that a signal during recovery is a stop too. */
static int block_signals(struct server *server)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    /* A client that hangs up, and a limit of file size, are errors of a call and not the end. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    server->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return watch(server, server->signal_fd);
}

/* A misspelt setting is one that does not act. */
static void warn_of_strangers(const struct config *config)
{
    for (unsigned i = 0; i < config->strangers.count; i++) {
        struct log_line line;
        log_begin(&line, "warning", "unknown_setting");
        log_text(&line, "variable", config->strangers.names[i]);
        log_quoted(&line, "reason",
                   "no setting has this name in the environment, so it does "
                   "nothing; wald serve --help lists them");
        log_end(&line);
    }
}

static void warn_of_network(const struct config *config)
{
    if (!config->tokens)
        warn("open_to_network", "anybody who reaches this address can read, append and delete; "
                                "--tokens would ask them for tokens");
    else if (!config->tls_cert)
        warn("plain_text", "whoever is on the way reads tokens and records that come to this "
                           "address: use --tls-cert, or put something that speaks TLS before it");
}

/* One that was handed over, or one of our own. */
static int open_listener(struct server *server)
{
    const char *reason;
    int fd = notify_socket(&reason);
    if (fd >= 0) {
        listen_adopt(&server->listener, fd);
        return 0;
    }
    if (fd != -ENOENT)
        return fail("socket activation", reason);
    if (listen_open(&server->listener, server->config->listen, (mode_t)server->config->socket_mode,
                    &reason) < 0)
        return fail(server->config->listen, reason);
    return 0;
}

static int open_manager(struct server *server)
{
    const char *reason;
    return notify_open(&server->notify, &reason) < 0 ? fail("NOTIFY_SOCKET", reason) : 0;
}

static int start(struct server *server)
{
    /* First of all: what comes before is lost on the first process of a container. */
    if (block_signals(server))
        return EXIT_FAILURE;
    umask(077);
    warn_of_strangers(server->config);
    unsigned files = raise_file_limit();
    if (open_tokens(server) || open_certificate(server) || share_files(server, files) ||
        check_disk(server))
        return EXIT_FAILURE;

    /* What lies outside of the data directory comes first: names of hosts are looked up in files, and
     * what is asked of /proc cannot be opened later. */
    process_open();
    if (open_manager(server) || open_listener(server) || open_store(server, files))
        return EXIT_FAILURE;
    if (open_api(server) || open_tls(server) || open_front(server) ||
        watch(server, mhd_poll_fd(server->mhd)) || watch(server, mhd_parking_fd(server->mhd)) ||
        watch(server, store_poll_fd(server->store, 0)) || watch(server, api_poll_fd(server->api)))
        return EXIT_FAILURE;
    if (close_sandbox(server))
        return EXIT_FAILURE;
    name_layers(server);

    if (server->front && watch(server, front_poll_fd(server->front)))
        return EXIT_FAILURE;
    if (!server->listener.is_loopback)
        warn_of_network(server->config);
    tell_ready(server);
    notify_say(&server->notify, "READY=1\nSTATUS=Serving at %s", server->listener.address);
    return 0;
}

/* ---- the loop ---- */

/* The default action would do, but the first process of a container has none. */
static void end_at_once(int signal)
{
    _exit(128 + signal);
}

/* What is wrong with a new file is told, and the old one goes on. */
static void reload_tokens(struct server *server)
{
    const char *path = server->config->tokens;
    char reason[AUTH_REASON_BYTES];
    struct auth *auth;
    struct log_line line;
    if (!path)
        return;
    if (auth_load(&auth, path, reason) == 0) {
        log_begin(&line, "info", "tokens_read");
        log_number(&line, "tokens", auth_count(auth));
        api_set_auth(server->api, auth);
    } else {
        log_begin(&line, "error", "tokens_not_read");
        log_quoted(&line, "reason", reason);
        log_quoted(&line, "remedy", "the tokens of before go on; mend the file, and send SIGHUP");
    }
    log_text(&line, "file", path);
    log_end(&line);
}

static void reload_certificate(struct server *server)
{
    const struct config *config = server->config;
    char reason[TLS_REASON_BYTES];
    struct tls_identity *identity;
    struct log_line line;
    if (!server->front)
        return;
    if (tls_identity_load(&identity, config->tls_cert, config->tls_key, reason) == 0) {
        front_set_identity(server->front, identity);
        tls_identity_put(server->identity);
        server->identity = identity;
        log_begin(&line, "info", "certificate_read");
        log_number(&line, "expires", (uint64_t)tls_identity_expires(identity));
    } else {
        log_begin(&line, "error", "certificate_not_read");
        log_quoted(&line, "reason", reason);
        log_quoted(&line, "remedy",
                   "the certificate of before goes on; mend the files, and send SIGHUP");
    }
    log_text(&line, "file", config->tls_cert);
    log_end(&line);
}

static void reload(struct server *server)
{
    struct log_line line;
    log_begin(&line, "info", "reloading");
    log_text(&line, "signal", "SIGHUP");
    log_end(&line);
    notify_say(&server->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, api_now_us());
    reload_tokens(server);
    reload_certificate(server);
    notify_say(&server->notify, "READY=1");
}

static void begin_stop(struct server *server, const struct signalfd_siginfo *info)
{
    struct log_line line;
    if (server->stopping)
        return;

    /* From here on a signal does not wait for anybody. */
    struct sigaction at_once = {.sa_handler = end_at_once};
    sigaction(SIGTERM, &at_once, NULL);
    sigaction(SIGINT, &at_once, NULL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_UNBLOCK, &signals, NULL);

    server->stopping = true;
    notify_say(&server->notify, "STOPPING=1\nSTATUS=Answering what is under way");
    api_drain(server->api);
    mhd_quiesce(server->mhd);
    if (server->front)
        front_quiesce(server->front);
    log_begin(&line, "info", "stopping");
    log_text(&line, "signal", info->ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    log_number(&line, "requests", api_in_progress(server->api));
    log_end(&line);
}

static void take_signals(struct server *server)
{
    struct signalfd_siginfo info = {0};
    while (read(server->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload(server);
        else
            begin_stop(server, &info);
    }
}

static int milliseconds(uint64_t us)
{
    return us >= (uint64_t)60 * 1000 * 1000 ? 60 * 1000 : (int)((us + 999) / 1000);
}

/* Whether there were any. What there is no room for waits until a connection is closed, as it would in
 * the backlog. */
static bool take_arrivals(struct server *server)
{
    struct front_arrival arrival;
    bool any = false;
    while (server->front && mhd_has_room(server->mhd) && front_take(server->front, &arrival)) {
        mhd_adopt(server->mhd, arrival.fd, (const struct sockaddr *)&arrival.address);
        any = true;
    }
    return any;
}

static void count_handshakes(struct server *server)
{
    struct front_stats stats;
    if (!server->front)
        return;
    front_stats(server->front, &stats);
    api_count_tls(server->api, stats.handshakes, stats.handshakes_failed, stats.refused);
}

/* One turn; sleeps at most wait_us. Returns how long the next one may sleep. */
static uint64_t turn(struct server *server, uint64_t wait_us)
{
    struct epoll_event events[8];
    int count = epoll_wait(server->epoll_fd, events, ARRAY_SIZE(events), milliseconds(wait_us));
    must(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == server->signal_fd)
            take_signals(server);
        else if (server->front && events[i].data.fd == front_poll_fd(server->front))
            front_heard(server->front);
    }
    must(store_run(server->store, 0, 0) >= 0);
    tell_damage(server);
    (void)take_arrivals(server);
    count_handshakes(server);
    uint64_t next_us = mhd_run(server->mhd);
    if (take_arrivals(server)) /* there is room for them since it has run */
        next_us = 0;
    next_us = min_u64(next_us, notify_turn(&server->notify, api_now_us()));
    return min_u64(next_us, store_run_delay_us(server->store, 0));
}

static void serve(struct server *server)
{
    uint64_t wait_us = 0;
    while (!server->stopping)
        wait_us = turn(server, wait_us);

    uint64_t until_us = api_now_us() + server->config->shutdown_timeout_us, say_us = 0;
    while (api_in_progress(server->api) > 0 &&
           (api_now_us() < until_us || api_appends_waiting(server->api) > 0 ||
            mhd_suspended(server->mhd) > 0)) {
        /* For the disk a stop waits without a limit, so the manager is asked to wait, too. */
        if (api_now_us() >= say_us) {
            notify_say(&server->notify, "EXTEND_TIMEOUT_USEC=%d", STOP_EXTENSION_US);
            say_us = api_now_us() + STOP_EXTENSION_US / 15;
        }
        wait_us = turn(server, min_u64(wait_us, STOP_TURN_US));
    }
}

/* ---- stopping ---- */

static int stop(struct server *server)
{
    int rc = 0;
    mhd_close(server->mhd);
    front_close(server->front, server->config->shutdown_timeout_us);
    tls_identity_put(server->identity);
    api_free(server->api);
    process_close();
    auth_free(server->auth);
    listen_close(&server->listener);
    if (server->store)
        rc = store_close(server->store, UINT64_MAX);
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    if (server->signal_fd >= 0)
        close(server->signal_fd);
    notify_close(&server->notify);
    return rc;
}

int server_run(const struct config *config)
{
    struct server server = {
        .config = config, .listener.fd = -1, .notify.fd = -1, .epoll_fd = -1, .signal_fd = -1};
    log_open((enum log_format)config->log_format);
    int status = start(&server);
    if (status == 0)
        serve(&server);

    int rc = stop(&server);
    if (status == 0) {
        struct log_line line;
        log_begin(&line, rc < 0 ? "error" : "info", "stopped");
        if (rc < 0)
            log_quoted(&line, "error", strerror(-rc));
        log_end(&line);
        status = rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    log_close();
    return status;
}
