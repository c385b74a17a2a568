/* Back ends that stand on a library which most installations do without: loaded when configured.
 *
 * The shared object is looked for at one path, never searched for. It stays loaded for the life of
 * the process, since threads of its library outlive the store. */
#include "kv/kv_int.h"

#include <dlfcn.h>
#include <string.h>

static enum rc refuse(const struct ctx *ctx, const char *path, const char *cause, enum rc rc)
{
    log_event(ctx->log, LOG_ERROR, "plugin-refused", "file", path, "cause", cause, NULL);
    return rc;
}

static enum rc load(const struct ctx *ctx, const struct kv_rados_conf *conf,
                    const struct kv_plugin **out)
{
    const char *path = conf->plugin ? conf->plugin : PENFOLD_PLUGINS "/penfold-rados.so";
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!object) {
        const char *cause = dlerror();
        log_event(ctx->log, LOG_ERROR, "plugin-missing", "file", path, "package", "penfold-rados",
                  "cause", cause ? cause : "unknown", NULL);
        return RC_NOTFOUND;
    }
    const struct kv_plugin *plugin = dlsym(object, "kv_plugin");
    dlclose(object);
    if (!plugin)
        return refuse(ctx, path, "it has no symbol kv_plugin", RC_PERM);
    if (strcmp(plugin->version, PENFOLD_VERSION) != 0)
        return refuse(ctx, path, "it is of another version of Penfold", RC_PERM);
    *out = plugin;
    return RC_OK;
}

enum rc kv_rados_open(const struct ctx *ctx, const struct kv_rados_conf *conf, struct kv **out)
{
    const struct kv_plugin *plugin;
    *out = NULL;
    TRY(load(ctx, conf, &plugin));
    return plugin->open(ctx, conf, out);
}

enum rc kv_rados_load(const struct ctx *ctx, const struct kv_rados_conf *conf)
{
    const struct kv_plugin *unused;
    return load(ctx, conf, &unused);
}
