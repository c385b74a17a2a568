/* The configuration file, through libconfuse, which is met in this file alone.
 *
 * One table says for each key where it belongs, what kind of value it takes and its default; the
 * library's option lists, the copying into struct conf, conf_show and conf_free are all made from
 * it. Values are checked while the file is parsed, so that a complaint carries its line.
 */
#include "conf/conf.h"

#include "base/mem.h"

#include <confuse.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { TEXT, PATH, SIZE, TIME, NUMBER, LIST, PLAINTEXT };

struct key {
    const char *section; /* NULL: top level */
    const char *name;
    enum kind kind;
    size_t offset;        /* in struct conf */
    const char *fallback; /* as text; the entries of a list between commas */
};

#define KEY(section, name, kind, member, fallback)                                                 \
    {                                                                                              \
        section, name, kind, offsetof(struct conf, member), fallback                               \
    }

static const struct key keys[] = {
    KEY(NULL, "hostname", TEXT, hostname, ""),
    KEY(NULL, "data", PATH, data, "/var/lib/penfold"),
    KEY(NULL, "user", TEXT, user, "penfold"),
    KEY(NULL, "log", TEXT, log_level, "info"),
    KEY("store", "engine", TEXT, store.engine, "local"),
    KEY("store", "memory", SIZE, store.memory, "64M"),
    KEY("store", "reserve", SIZE, store.reserve, "64M"),
    KEY("store", "segment", SIZE, store.segment, "256M"),
    KEY("store", "clean_rate", SIZE, store.clean_rate, "16M"),
    KEY("store", "undelete", TIME, store.undelete, "7d"),
    KEY("tls", "certificate", PATH, tls.certificate, ""),
    KEY("tls", "key", PATH, tls.key, ""),
    KEY("listen", "smtp", LIST, listen.smtp, "0.0.0.0:25,[::]:25"),
    KEY("listen", "pop3", LIST, listen.pop3, "0.0.0.0:110,[::]:110"),
    KEY("listen", "pop3s", LIST, listen.pop3s, "0.0.0.0:995,[::]:995"),
    KEY("auth", "plaintext", PLAINTEXT, auth.plaintext, "never"),
    KEY("auth", "hash_ops", NUMBER, auth.hash_ops, "3"),
    KEY("auth", "hash_memory", SIZE, auth.hash_memory, "64M"),
    KEY("auth", "hash_threads", NUMBER, auth.hash_threads, "2"),
    KEY("limits", "message_size", SIZE, limits.message_size, "50M"),
    KEY("limits", "recipients", NUMBER, limits.recipients, "100"),
    KEY("limits", "connections", NUMBER, limits.connections, "20000"),
    KEY("limits", "per_address", NUMBER, limits.per_address, "50"),
    KEY("limits", "memory", SIZE, limits.memory, "256M"),
    KEY("limits", "command_time", TIME, limits.command_time, "5m"),
    KEY("limits", "data_time", TIME, limits.data_time, "3m"),
    KEY("limits", "trusted", LIST, limits.trusted, "127.0.0.0/8,::1"),
};

enum { N_KEYS = sizeof keys / sizeof *keys, MAX_IN_SECTION = 16 };

static const char *const sections[] = {"store", "tls", "listen", "auth", "limits"};
enum { N_SECTIONS = sizeof sections / sizeof *sections };

static const char *const plaintext_names[] = {"never", "loopback"};

static enum rc with_suffix(const char *text, const char *suffixes, const uint64_t *factors,
                           uint64_t *out)
{
    struct str s = str_of(text);
    uint64_t factor = 1;
    const char *at = s.n ? strchr(suffixes, ascii_lower(s.p[s.n - 1])) : NULL;
    if (at) {
        factor = factors[at - suffixes];
        s.n--;
    }
    TRY(str_to_u64(s, out));
    return __builtin_mul_overflow(*out, factor, out) ? RC_LIMIT : RC_OK;
}

enum rc conf_parse_size(const char *text, uint64_t *out)
{
    static const uint64_t factors[] = {1U << 10, 1U << 20, 1U << 30, UINT64_C(1) << 40};
    return with_suffix(text, "kmgt", factors, out);
}

enum rc conf_parse_time(const char *text, uint64_t *out)
{
    static const uint64_t factors[] = {1, 60, 3600, 86400};
    return with_suffix(text, "smhd", factors, out);
}

static int plaintext_of(const char *text)
{
    for (int i = 0; i < 2; i++)
        if (strcmp(text, plaintext_names[i]) == 0)
            return i;
    return -1;
}

/* Called by the library for each value as it is parsed: refuses what is not of the key's kind. */
static int check_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    enum kind kind = TEXT;
    const char *section = strcmp(cfg_name(cfg), "root") == 0 ? NULL : cfg_name(cfg);
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].name, cfg_opt_name(opt)) == 0 &&
            (section ? keys[i].section && strcmp(section, keys[i].section) == 0 : !keys[i].section))
            kind = keys[i].kind;
    uint64_t number;
    const char *want = NULL;
    if (kind == SIZE && conf_parse_size(value, &number) != RC_OK)
        want = "a size such as 50M";
    else if (kind == TIME && conf_parse_time(value, &number) != RC_OK)
        want = "a time such as 30s, 5m or 7d";
    else if (kind == NUMBER && str_to_u64(str_of(value), &number) != RC_OK)
        want = "a number";
    else if (kind == PLAINTEXT && plaintext_of(value) < 0)
        want = "\"never\" or \"loopback\"";
    if (want) {
        cfg_error(cfg, "%s = \"%s\": expected %s", cfg_opt_name(opt), value, want);
        return -1;
    }
    *(const char **)result = value;
    return 0;
}

/* Where the library's complaints go while a file is parsed: it offers no argument for its callback.
 */
static _Thread_local struct buf *complaints;

__attribute__((format(printf, 2, 0))) static void complain(cfg_t *cfg, const char *format,
                                                           va_list ap)
{
    if (!complaints)
        return;
    if (cfg && cfg->filename)
        buf_putf(complaints, "%s:%d: ", cfg->filename, cfg->line);
    if (buf_vprintf(complaints, format, ap) != RC_OK)
        complaints->over = true;
    buf_put(complaints, STR("\n"));
}

static cfg_opt_t option_of(const struct key *key)
{
    if (key->kind == LIST) {
        cfg_opt_t list = CFG_STR_LIST_CB(key->name, NULL, CFGF_NONE, check_value);
        return list;
    }
    cfg_opt_t one = CFG_STR_CB(key->name, NULL, CFGF_NONE, check_value);
    return one;
}

static cfg_t *parser_new(void)
{
    cfg_opt_t end = CFG_END();
    cfg_opt_t inner[N_SECTIONS][MAX_IN_SECTION], top[N_KEYS + N_SECTIONS + 1];
    size_t n_top = 0;
    for (size_t s = 0; s < N_SECTIONS; s++) {
        size_t n = 0;
        for (size_t i = 0; i < N_KEYS; i++)
            if (keys[i].section && strcmp(keys[i].section, sections[s]) == 0)
                inner[s][n++] = option_of(&keys[i]);
        inner[s][n] = end;
        cfg_opt_t section = CFG_SEC(sections[s], inner[s], CFGF_MULTI);
        top[n_top++] = section;
    }
    for (size_t i = 0; i < N_KEYS; i++)
        if (!keys[i].section)
            top[n_top++] = option_of(&keys[i]);
    top[n_top] = end;
    cfg_t *cfg = cfg_init(top, CFGF_NONE); /* copies the option lists */
    cfg_set_error_function(cfg, complain);
    return cfg;
}

static char *from_folder_of(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    if (!slash || path[0] == '/' || path[0] == '\0')
        return mem_dup(path, strlen(path));
    size_t folder = (size_t)(slash - file) + 1;
    char *joined = mem_alloc(folder + strlen(path) + 1);
    memcpy(joined, file, folder);
    memcpy(joined + folder, path, strlen(path) + 1);
    return joined;
}

/* The last place in the file that sets a key; NULL when none does. */
static cfg_t *where_set(cfg_t *cfg, const struct key *key)
{
    cfg_t *found = NULL;
    for (unsigned i = 0; key->section && i < cfg_size(cfg, key->section); i++) {
        cfg_t *section = cfg_getnsec(cfg, key->section, i);
        if (cfg_getopt(section, key->name)->flags & CFGF_MODIFIED)
            found = section;
    }
    if (!key->section && cfg_getopt(cfg, key->name)->flags & CFGF_MODIFIED)
        found = cfg;
    return found;
}

static void list_add_text(struct conf_list *list, struct str text)
{
    list->item[list->n++] = mem_dup(text.p, text.n);
}

static enum rc take_list(cfg_t *set, const struct key *key, struct conf_list *list, struct buf *why)
{
    struct str rest = str_of(key->fallback), part;
    while (!set && str_cut(&rest, ',', &part))
        list_add_text(list, part);
    unsigned n = set ? cfg_size(set, key->name) : 0;
    if (n > CONF_LIST_MAX) {
        buf_putf(why, "%s:%d: %s has more than %d entries\n", set->filename, set->line, key->name,
                 CONF_LIST_MAX);
        return RC_SYNTAX;
    }
    for (unsigned i = 0; i < n; i++)
        list_add_text(list, str_of(cfg_getnstr(set, key->name, i)));
    return RC_OK;
}

static enum rc take(cfg_t *cfg, const struct key *key, const char *file, struct conf *conf,
                    struct buf *why)
{
    cfg_t *set = where_set(cfg, key);
    void *to = (char *)conf + key->offset;
    if (key->kind == LIST)
        return take_list(set, key, to, why);
    const char *value = set ? cfg_getstr(set, key->name) : key->fallback;
    switch (key->kind) {
    case TEXT:
        *(char **)to = mem_dup(value, strlen(value));
        return RC_OK;
    case PATH:
        *(char **)to = from_folder_of(file, value);
        return RC_OK;
    case SIZE:
        return conf_parse_size(value, to);
    case TIME:
        return conf_parse_time(value, to);
    case NUMBER:
        return str_to_u64(str_of(value), to);
    case PLAINTEXT:
        *(enum conf_plaintext *)to = (enum conf_plaintext)plaintext_of(value);
        return RC_OK;
    case LIST:
        break;
    }
    return RC_PERM;
}

static void use_system_name(struct conf *conf)
{
    char name[256] = "";
    if (conf->hostname[0])
        return;
    free(conf->hostname);
    if (gethostname(name, sizeof name - 1) != 0 || !name[0])
        strcpy(name, "localhost");
    conf->hostname = mem_dup(name, strlen(name));
}

enum rc conf_load(const char *path, struct conf **out, struct buf *why)
{
    if (access(path, R_OK) != 0) {
        int error = errno;
        buf_putf(why, "%s: %s\n", path, strerror(error));
        return rc_from_errno(error);
    }
    cfg_t *cfg = parser_new();
    complaints = why;
    enum rc rc = cfg_parse(cfg, path) == CFG_SUCCESS ? RC_OK : RC_SYNTAX;
    complaints = NULL;
    struct conf *conf = mem_zero(sizeof *conf);
    for (size_t i = 0; i < N_KEYS && rc == RC_OK; i++)
        rc = take(cfg, &keys[i], path, conf, why);
    cfg_free(cfg);
    if (rc == RC_OK) {
        use_system_name(conf);
        *out = conf;
    } else {
        conf_free(&conf);
    }
    return rc;
}

void conf_free(struct conf **conf)
{
    if (!*conf)
        return;
    for (size_t i = 0; i < N_KEYS; i++) {
        void *at = (char *)*conf + keys[i].offset;
        if (keys[i].kind == TEXT || keys[i].kind == PATH)
            free(*(char **)at);
        if (keys[i].kind != LIST)
            continue;
        struct conf_list *list = at;
        for (size_t n = 0; n < list->n; n++)
            free(list->item[n]);
    }
    free(*conf);
    *conf = NULL;
}

static void show_value(const struct conf *conf, const struct key *key, struct buf *out)
{
    const void *at = (const char *)conf + key->offset;
    const struct conf_list *list = at;
    switch (key->kind) {
    case TEXT:
    case PATH:
        buf_putf(out, "\"%s\"", *(char *const *)at);
        break;
    case PLAINTEXT:
        buf_putf(out, "\"%s\"", plaintext_names[*(const enum conf_plaintext *)at]);
        break;
    case SIZE:
    case TIME:
    case NUMBER:
        buf_putf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case LIST:
        buf_put(out, STR("{"));
        for (size_t i = 0; i < list->n; i++)
            buf_putf(out, "%s\"%s\"", i ? ", " : "", list->item[i]);
        buf_put(out, STR("}"));
        break;
    }
}

void conf_show(const struct conf *conf, struct buf *out)
{
    const char *open = NULL;
    for (size_t i = 0; i < N_KEYS; i++) {
        const struct key *key = &keys[i];
        if (open && (!key->section || strcmp(open, key->section) != 0))
            buf_put(out, STR("}\n"));
        if (key->section && (!open || strcmp(open, key->section) != 0))
            buf_putf(out, "%s {\n", key->section);
        open = key->section;
        buf_putf(out, "%s%s = ", open ? "    " : "", key->name);
        show_value(conf, key, out);
        buf_put(out, STR("\n"));
    }
    if (open)
        buf_put(out, STR("}\n"));
}
