/* daemon: the program. `penfold serve` becomes the supervisor and its children; every other command
 * is ctl's. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

int daemon_main(int argc, char **argv); /* the exit status */

#endif
