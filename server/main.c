#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/commands.h"
#include "server/config.h"
#include "server/healthcheck.h"
#include "server/server.h"

#define EXIT_USAGE 2

/* A descriptor that is closed would go to the next file that is opened, and what is said on stderr
 * into that file. */
static void fill_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = dup(fd);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    struct config config;
    int status = EXIT_USAGE;

    fill_descriptors();
    int command_status = command_run(argc, argv);
    if (command_status >= 0)
        return command_status;
    switch (config_load(&config, argc, (const char *const *)argv, (const char *const *)environ,
                        stdout, stderr)) {
    case CONFIG_DONE: return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    case CONFIG_WRONG: return EXIT_USAGE;
    case CONFIG_SERVE: status = server_run(&config); break;
    case CONFIG_HEALTHCHECK: status = healthcheck_run(&config, stdout); break;
    }
    config_done(&config);
    return status;
}
