/* The program's commands: serve, and all that ctl knows. */
#include "daemon/daemon.h"

#include "daemon/daemon_int.h"

#include "ctl/ctl.h"

#include <string.h>

int daemon_main(int argc, char **argv)
{
    bool is_help = false;
    for (int i = 1; i < argc; i++)
        is_help |= strcmp(argv[i], "--help") == 0;
    if (argc > 1 && strcmp(argv[1], "serve") == 0 && !is_help)
        return supervisor_run(ctl_conf_path(argc, argv));
    return ctl_main(argc, argv);
}
