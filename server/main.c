#include <stdlib.h>

#include "server/config.h"
#include "server/server.h"

#define EXIT_USAGE 2

int main(int argc, char **argv)
{
    struct config config;

    switch (config_parse(&config, argc, argv)) {
    case CONFIG_DONE: return EXIT_SUCCESS;
    case CONFIG_WRONG: return EXIT_USAGE;
    case CONFIG_SERVE: break;
    }
    return server_run(&config);
}
