/* The store that a configuration names: the one place that knows which engines there are, for the
 * server and for commands that open the store themselves.
 */
#include "ctl/ctl_int.h"

#include <stdio.h>
#include <string.h>

static struct kv_local_conf local_conf(const struct conf *conf)
{
    return (struct kv_local_conf){.path = ".", /* the data folder */
                                  .segment_bytes = conf->store.segment,
                                  .memory_bytes = conf->store.memory,
                                  .queue_bytes = conf->store.queue,
                                  .clean_rate = conf->store.clean_rate,
                                  .reserve_bytes = conf->store.reserve};
}

static const char *or_default(const char *text)
{
    return text[0] ? text : NULL;
}

static struct kv_rados_conf rados_conf(const struct conf *conf)
{
    return (struct kv_rados_conf){.plugin = or_default(conf->store.plugin),
                                  .conf = conf->store.ceph_conf,
                                  .client = conf->store.ceph_user,
                                  .keyring = conf->store.ceph_keyring,
                                  .index_pool = conf->store.pool,
                                  .body_pool = or_default(conf->store.body_pool),
                                  .name = conf->store.name,
                                  .memory_bytes = conf->store.memory,
                                  .body_bytes = conf->store.body_memory,
                                  .queue_bytes = conf->store.queue};
}

static bool is_rados(const struct conf *conf)
{
    return strcmp(conf->store.engine, "rados") == 0;
}

enum rc ctl_engine_load(const struct ctx *ctx, const struct conf *conf,
                        struct ctl_engine_needs *out)
{
    *out = (struct ctl_engine_needs){0};
    if (!is_rados(conf))
        return RC_OK;
    const struct kv_rados_conf rados = rados_conf(conf);
    out->connects = true;
    out->readable[0] = rados.conf;
    out->readable[1] = rados.keyring;
    return kv_rados_load(ctx, &rados);
}

enum rc ctl_engine_open_at(const struct ctx *ctx, const struct conf *conf, const char *data,
                           bool read_only, struct kv **out)
{
    if (is_rados(conf)) {
        const struct kv_rados_conf rados = rados_conf(conf);
        return kv_rados_open(ctx, &rados, out);
    }
    struct kv_local_conf local = local_conf(conf);
    local.path = data;
    local.read_only = read_only;
    return kv_local_open(ctx, &local, out);
}

enum rc ctl_engine_open(const struct ctx *ctx, const struct conf *conf, struct kv **out)
{
    return ctl_engine_open_at(ctx, conf, ".", false, out);
}

bool ctl_engine_is_local(const struct conf *conf)
{
    return !is_rados(conf);
}

void ctl_engine_name(const struct conf *conf, const char *data, char *to, size_t size)
{
    if (is_rados(conf))
        snprintf(to, size, "%s in the pool %s of %s", conf->store.name, conf->store.pool,
                 conf->store.ceph_conf);
    else
        snprintf(to, size, "%s", data);
}
