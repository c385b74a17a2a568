/* The program's commands are ctl's; what `serve` means is told to it from here. */
#include "daemon/daemon.h"

#include "daemon/daemon_int.h"

#include "ctl/ctl.h"

int daemon_main(int argc, char **argv)
{
    return ctl_main(argc, argv, supervisor_run);
}
