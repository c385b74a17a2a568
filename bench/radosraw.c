/* What a Ceph cluster gives to a client that does nothing else: for each message one object of
 * 4 KB and one guarded change of 1.6 KB to the omap of one of 1,000 other objects. An example of
 * librados, and what make bench-cluster holds Penfold's deliveries against.
 *
 *   radosraw CEPH_CONF INDEX_POOL BODY_POOL MESSAGES SLOTS
 *
 * SLOTS messages are under way at once. Each slot goes through the same circle: it creates a body
 * object, and when that is durable it sets eight rows of an index object on condition that the
 * object's version is the one that the slot left there. An index object belongs to one slot, so
 * that no condition fails. The calls are asynchronous; a callback starts the next one.
 *
 * Prints messages a second and CPU microseconds a message of this process. Objects are named after
 * the process, and stay: the cluster is one to throw away.
 */
#include <errno.h>
#include <pthread.h>
#include <rados/librados.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BODY = 4096, ROWS = 8, ROW = 200, INDEXES = 1000, SLOTS_MAX = 512, KEY = 20, NAME = 64 };

struct run {
    rados_ioctx_t index, body;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned started, messages, slots, active;
};

struct slot {
    struct run *run;
    unsigned number, turn, message;
    unsigned long version[INDEXES]; /* of the index objects that are this slot's */
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "radosraw: %s: %s\n", what, strerror(-error));
    exit(1);
}

static void body_written(rados_completion_t done, void *arg);
static void index_changed(rados_completion_t done, void *arg);

/* --- one message ------------------------------------------------------------------------------ */

/* True: there is another message for this slot. */
static int take(struct slot *s)
{
    struct run *r = s->run;
    pthread_mutex_lock(&r->mutex);
    int more = r->started < r->messages;
    if (more)
        s->message = r->started++;
    else if (--r->active == 0)
        pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&r->mutex);
    return more;
}

static void send_op(rados_ioctx_t pool, rados_write_op_t op, const char *name,
                    rados_callback_t callback, void *arg)
{
    rados_completion_t completion;
    int error = rados_aio_create_completion2(arg, callback, &completion);
    if (error == 0)
        error = rados_aio_write_op_operate(op, pool, completion, name, NULL, 0);
    if (error)
        fail(name, error);
    rados_release_write_op(op);
}

static void write_body(struct slot *s)
{
    static const char body[BODY] = "a message";
    char name[NAME];
    snprintf(name, sizeof name, "body-%d-%u", (int)getpid(), s->message);
    rados_write_op_t op = rados_create_write_op();
    rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_write_full(op, body, sizeof body);
    send_op(s->run->body, op, name, body_written, s);
}

/* The version is a row like others; a row that is not there equals the empty value. */
static void change_index(struct slot *s)
{
    static const char version_key[] = "version", row[ROW] = "of a message";
    char name[NAME], keys[ROWS][KEY], expected[KEY], next[KEY];
    unsigned mine = INDEXES / s->run->slots, which = s->turn++ % mine;
    unsigned long *version = &s->version[which];
    const char *key[ROWS + 1], *value[ROWS + 1];
    size_t key_size[ROWS + 1], value_size[ROWS + 1];
    for (size_t i = 0; i < ROWS; i++) {
        key_size[i] = (size_t)snprintf(keys[i], KEY, "%010u.%zu", s->message, i);
        key[i] = keys[i];
        value[i] = row;
        value_size[i] = ROW;
    }
    size_t n_expected = *version ? (size_t)snprintf(expected, KEY, "%lu", *version) : 0;
    key[ROWS] = version_key;
    key_size[ROWS] = strlen(version_key);
    value[ROWS] = next;
    value_size[ROWS] = (size_t)snprintf(next, KEY, "%lu", ++*version);

    snprintf(name, sizeof name, "index-%d-%u", (int)getpid(), s->number * mine + which);
    rados_write_op_t op = rados_create_write_op();
    rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    rados_write_op_omap_cmp2(op, version_key, LIBRADOS_CMPXATTR_OP_EQ, expected,
                             strlen(version_key), n_expected, NULL);
    rados_write_op_omap_set2(op, key, value, key_size, value_size, ROWS + 1);
    send_op(s->run->index, op, name, index_changed, s);
}

static void check(rados_completion_t done, const char *what)
{
    int error = rados_aio_get_return_value(done);
    if (error)
        fail(what, error);
    rados_aio_release(done);
}

static void body_written(rados_completion_t done, void *arg)
{
    check(done, "a body");
    change_index(arg);
}

static void index_changed(rados_completion_t done, void *arg)
{
    check(done, "an index");
    if (take(arg))
        write_body(arg);
}

/* --- all of them ------------------------------------------------------------------------------ */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void run_all(struct run *r)
{
    struct slot *slots = calloc(r->slots, sizeof *slots);
    if (!slots)
        fail("slots", -ENOMEM);
    double began = seconds(), used = cpu_seconds();
    r->active = r->slots;
    for (unsigned i = 0; i < r->slots; i++) {
        slots[i].run = r;
        slots[i].number = i;
        if (take(&slots[i]))
            write_body(&slots[i]);
    }
    pthread_mutex_lock(&r->mutex);
    while (r->active)
        pthread_cond_wait(&r->ended, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
    double took = seconds() - began;
    printf("radosraw messages=%u slots=%u seconds=%.2f messages/s=%.0f cpu_us/message=%.1f\n",
           r->messages, r->slots, took, r->messages / took,
           (cpu_seconds() - used) * 1e6 / r->messages);
    free(slots);
}

int main(int argc, char **argv)
{
    struct run r = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    rados_t cluster;
    int error;
    if (argc != 6 || (r.messages = (unsigned)atoi(argv[4])) == 0 ||
        (r.slots = (unsigned)atoi(argv[5])) == 0 || r.slots > SLOTS_MAX) {
        fprintf(stderr, "usage: radosraw CEPH_CONF INDEX_POOL BODY_POOL MESSAGES SLOTS (to %d)\n",
                SLOTS_MAX);
        return 2;
    }
    if ((error = rados_create2(&cluster, "ceph", "client.penfold", 0)) ||
        (error = rados_conf_read_file(cluster, argv[1])) || (error = rados_connect(cluster)))
        fail(argv[1], error);
    if ((error = rados_ioctx_create(cluster, argv[2], &r.index)) ||
        (error = rados_ioctx_create(cluster, argv[3], &r.body)))
        fail("pool", error);
    run_all(&r);
    rados_ioctx_destroy(r.body);
    rados_ioctx_destroy(r.index);
    rados_shutdown(cluster);
    return 0;
}
