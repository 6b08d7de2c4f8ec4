#include "client/say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_EVERY_US UINT64_C(100000)
#define LINE_EVERY_US UINT64_C(10000000)
#define BAR_COLUMNS_MAX 40

static bool bar_is_shown;

uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void progress_hide(void)
{
    if (bar_is_shown)
        fputs("\r\033[K", stderr);
    bar_is_shown = false;
}

void complain(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int bytes = vasprintf(&text, format, arguments);
    va_end(arguments);
    progress_hide();
    if (bytes < 0) {
        fputs("wald: there is no memory even to say what is wrong\n", stderr);
        return;
    }
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    }
    fprintf(stderr, "wald: %s\n", text);
    free(text);
}

int complain_memory(void)
{
    complain("There is no memory left; nothing more was done.");
    return EXIT_SYSTEM;
}

/* ---- progress ---- */

#define SIZE_BYTES 32

static void print_size(char ret_text[SIZE_BYTES], double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(ret_text, SIZE_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void print_figures(const struct progress *progress)
{
    char bytes[SIZE_BYTES], rate[SIZE_BYTES];
    double seconds = (double)(now_us() - progress->begun_us) / 1e6;
    print_size(bytes, (double)progress->bytes);
    print_size(rate, seconds > 0 ? (double)progress->bytes / seconds : 0);
    fprintf(stderr, "%s %" PRIu64 " record%s, %s (%s/s)", progress->verb, progress->records,
            progress->records == 1 ? "" : "s", bytes, rate);
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* "[#######.....]  58 %  appended 12 records, ..." */
static void show_bar(struct progress *progress)
{
    unsigned columns = terminal_columns();
    progress_hide();
    if (progress->total > 0 && columns > 70) {
        uint64_t done = progress->done < progress->total ? progress->done : progress->total;
        double part = (double)done / (double)progress->total;
        unsigned width = columns - 60 < BAR_COLUMNS_MAX ? columns - 60 : BAR_COLUMNS_MAX;
        unsigned full = (unsigned)(part * width);
        fputc('[', stderr);
        for (unsigned i = 0; i < width; i++)
            fputc(i < full ? '#' : '.', stderr);
        fprintf(stderr, "] %3.0f %% ", part * 100);
    }
    print_figures(progress);
    fflush(stderr);
    bar_is_shown = true;
}

void progress_begin(struct progress *progress, const char *verb, bool quiet)
{
    *progress = (struct progress){.verb = verb, .quiet = quiet, .begun_us = now_us()};
    progress->shown_us = progress->begun_us;
    progress->is_terminal = isatty(STDERR_FILENO);
}

void progress_show(struct progress *progress)
{
    uint64_t now = now_us();
    uint64_t every = progress->is_terminal ? BAR_EVERY_US : LINE_EVERY_US;
    if (progress->quiet || !progress->verb || now - progress->shown_us < every)
        return;
    progress->shown_us = now;
    if (progress->is_terminal) {
        show_bar(progress);
        return;
    }
    fputs("wald: ", stderr);
    print_figures(progress);
    fputc('\n', stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->quiet || !progress->verb)
        return;
    if (progress->is_terminal)
        show_bar(progress);
    else {
        fputs("wald: ", stderr);
        print_figures(progress);
    }
    fputc('\n', stderr);
    bar_is_shown = false;
    progress->verb = NULL;
}
