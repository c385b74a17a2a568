/* The configuration file, through libconfuse, which is met in this file alone.
 *
 * One table (keys.c) says for each key where it belongs, what kind of value it takes and its
 * default; the library's option lists, the copying into struct conf, conf_show (show.c) and
 * conf_free are all made from it. Values are checked while the file is parsed, so that a complaint
 * carries its line.
 */
#include "conf/conf_int.h"

#include "base/mem.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_IN_SECTION = 24, FILE_MAX = 1 << 20 };

/* Where everything was found. */
struct conf_origin {
    char *path;
    int lines[CONF_KEYS_MAX]; /* 0: nowhere */
};

static unsigned most_of(const struct key *list)
{
    return list->kind == NAMES ? CONF_NAMES_MAX : CONF_LIST_MAX;
}

static const struct key *key_of(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *section = strcmp(cfg_name(cfg), "root") == 0 ? NULL : cfg_name(cfg);
    for (size_t i = 0; i < conf_n_keys; i++)
        if (strcmp(conf_keys[i].name, cfg_opt_name(opt)) == 0 &&
            (section ? conf_keys[i].section && strcmp(section, conf_keys[i].section) == 0
                     : !conf_keys[i].section))
            return &conf_keys[i];
    for (size_t i = 0; i < conf_n_route_keys; i++)
        if (section && strcmp(section, "route") == 0 &&
            strcmp(conf_route_keys[i].name, cfg_opt_name(opt)) == 0)
            return &conf_route_keys[i];
    return NULL;
}

/* What happens while a text is parsed: the library offers no argument for its callbacks. */
struct parsing {
    struct conf_faults faults;
    int lines[CONF_KEYS_MAX];
    bool has_bad_value;
};
static _Thread_local struct parsing *parsing;

__attribute__((format(printf, 2, 0))) static void complain(cfg_t *cfg, const char *format,
                                                           va_list ap)
{
    if (parsing)
        conf_faults_add(&parsing->faults, cfg ? cfg->line : 0, format, ap);
}

/* Called by the library for each value as it is parsed: complains of what is not of the key's kind,
 * and lets it go on to find what else is wrong. */
static int check_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    const struct key *key = key_of(cfg, opt);
    char expected[128];
    if (key && conf_key_refuses(key, value, expected)) {
        cfg_error(cfg, "%s = \"%s\": expected %s", key->name, value, expected);
        parsing->has_bad_value = true;
    }
    if (key && conf_key_is_list(key) && cfg_opt_size(opt) == most_of(key) + 1) {
        cfg_error(cfg, "%s has more than %u entries", key->name, most_of(key));
        parsing->has_bad_value = true;
    }
    if (key >= conf_keys && key < conf_keys + conf_n_keys)
        parsing->lines[key - conf_keys] = cfg->line;
    *(const char **)result = value;
    return 0;
}

static cfg_opt_t option_of(const struct key *key)
{
    if (conf_key_is_list(key)) {
        cfg_opt_t list = CFG_STR_LIST_CB(key->name, NULL, CFGF_NONE, check_value);
        return list;
    }
    cfg_opt_t one = CFG_STR_CB(key->name, NULL, CFGF_NONE, check_value);
    return one;
}

static cfg_t *parser_new(void)
{
    cfg_opt_t end = CFG_END();
    cfg_opt_t inner[CONF_SECTIONS_MAX][MAX_IN_SECTION];
    cfg_opt_t top[CONF_KEYS_MAX + CONF_SECTIONS_MAX + 1], of_route[MAX_IN_SECTION];
    size_t n_top = 0;
    for (size_t i = 0; i < conf_n_route_keys; i++)
        of_route[i] = option_of(&conf_route_keys[i]);
    of_route[conf_n_route_keys] = end;
    cfg_opt_t route = CFG_SEC("route", of_route, CFGF_MULTI | CFGF_TITLE);
    for (size_t s = 0; s < conf_n_sections; s++) {
        size_t n = 0;
        for (size_t i = 0; i < conf_n_keys; i++)
            if (conf_keys[i].section && strcmp(conf_keys[i].section, conf_sections[s]) == 0)
                inner[s][n++] = option_of(&conf_keys[i]);
        if (strcmp(conf_sections[s], "relay") == 0)
            inner[s][n++] = route;
        inner[s][n] = end;
        cfg_opt_t section = CFG_SEC(conf_sections[s], inner[s], CFGF_MULTI);
        top[n_top++] = section;
    }
    for (size_t i = 0; i < conf_n_keys; i++)
        if (!conf_keys[i].section)
            top[n_top++] = option_of(&conf_keys[i]);
    top[n_top] = end;
    cfg_t *cfg = cfg_init(top, CFGF_NONE); /* copies the option lists */
    cfg_set_error_function(cfg, complain);
    return cfg;
}

/* One pass over the text with an unused parser. */
static enum rc parse_once(char *text, struct parsing *p, cfg_t **out)
{
    conf_faults_clear(&p->faults);
    p->has_bad_value = false;
    memset(p->lines, 0, sizeof p->lines);
    *out = parser_new();
    parsing = p;
    int result = cfg_parse_buf(*out, text);
    parsing = NULL;
    return result == CFG_SUCCESS && !p->has_bad_value ? RC_OK : RC_SYNTAX;
}

/* The library stops at an unknown key. It is noted, taken out, and the rest is looked at. */
static enum rc parse_all(char *text, struct parsing *p, cfg_t **out)
{
    enum rc rc = parse_once(text, p, out);
    while (rc != RC_OK && conf_faults_take_unknown(&p->faults, text)) {
        cfg_free(*out);
        rc = parse_once(text, p, out);
    }
    return p->faults.n_kept ? RC_SYNTAX : rc;
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
    list->item = mem_array(list->item, &list->capacity, list->n + 1, sizeof *list->item);
    list->item[list->n++] = mem_dup(text.p, text.n);
}

static void take_list(cfg_t *set, const struct key *key, const char *file, struct conf_list *list)
{
    struct str rest = str_of(key->fallback), part; /* no fallback: an empty list */
    while (!set && str_cut(&rest, ',', &part))
        list_add_text(list, part);
    unsigned n = set ? cfg_size(set, key->name) : 0;
    for (unsigned i = 0; i < n; i++) {
        const char *value = cfg_getnstr(set, key->name, i);
        char *path = key->kind == PLACES && strchr(value, '/') ? from_folder_of(file, value) : NULL;
        list_add_text(list, str_of(path ? path : value));
        free(path);
    }
}

static void release(const struct key *key, void *base)
{
    void *at = (char *)base + key->offset;
    struct conf_list *list = at;
    if (key->kind == TEXT || key->kind == RATES || key->kind == NAME || key->kind == PATH ||
        key->kind == HOST || key->kind == CHOICE)
        free(*(char **)at);
    for (size_t n = 0; conf_key_is_list(key) && n < list->n; n++)
        free(list->item[n]);
    if (conf_key_is_list(key))
        free(list->item);
}

/* set: the section that has the key, or NULL; into: what the key's offset is for. */
static enum rc take(cfg_t *set, const struct key *key, const char *file, void *into)
{
    void *to = (char *)into + key->offset;
    const char *value = set ? cfg_getstr(set, key->name) : key->fallback;
    switch (key->kind) {
    case TEXT:
    case RATES:
    case NAME:
    case CHOICE:
        *(char **)to = mem_dup(value, strlen(value));
        return RC_OK;
    case PATH:
        *(char **)to = conf_key_choice(key, value) >= 0 ? mem_dup(value, strlen(value))
                                                        : from_folder_of(file, value);
        return RC_OK;
    case HOST:
        *(char **)to =
            strchr(value, '/') ? from_folder_of(file, value) : mem_dup(value, strlen(value));
        return RC_OK;
    case SIZE:
    case TIME:
    case NUMBER:
        return conf_key_amount(key, value, to);
    case PLAINTEXT:
        *(enum conf_plaintext *)to = (enum conf_plaintext)conf_key_choice(key, value);
        return RC_OK;
    case ADDRESSES:
    case PLACES:
    case NETWORKS:
    case NAMES:
    case USERS:
    case WORDLIST:
    case ALGORITHMS:
    case IPS:
        take_list(set, key, file, to);
        return RC_OK;
    }
    return RC_PERM;
}

/* --- routes ----------------------------------------------------------------------------------- */

static void route_clear(struct conf_route *route)
{
    free(route->domain);
    for (size_t i = 0; i < conf_n_route_keys; i++)
        release(&conf_route_keys[i], route);
}

static enum rc fault_of_route(cfg_t *set, const char *file, const char *title, const char *fault,
                              struct buf *why)
{
    buf_putf(why, "%s:%d: route \"%s\": %s\n", file, set->line, title, fault);
    return RC_SYNTAX;
}

static enum rc take_route(cfg_t *set, const char *file, struct conf_route *to, struct buf *why)
{
    struct conf_route route = {0};
    const char *title = cfg_title(set);
    enum rc rc = RC_OK;
    route.domain = mem_dup(title, strlen(title));
    for (size_t i = 0; i < conf_n_route_keys && rc == RC_OK; i++) {
        bool is_set = cfg_getopt(set, conf_route_keys[i].name)->flags & CFGF_MODIFIED;
        rc = take(is_set ? set : NULL, &conf_route_keys[i], file, &route);
    }
    if (rc == RC_OK && strcmp(title, "*") != 0 && !conf_is_hostname(title))
        rc = fault_of_route(set, file, title, "expected a domain, or \"*\" for all others", why);
    else if (rc == RC_OK && !route.login[0] != !route.password_file[0])
        rc = fault_of_route(set, file, title, "login and password_file are needed both", why);
    else if (rc == RC_OK && route.login[0] && !route.host[0])
        rc = fault_of_route(set, file, title, "a login is for a host: set host too", why);
    *to = route;
    return rc;
}

static struct conf_route *find_route(struct conf *conf, const char *domain)
{
    for (size_t i = 0; i < conf->relay.n_routes; i++)
        if (strcasecmp(conf->relay.routes[i].domain, domain) == 0)
            return &conf->relay.routes[i];
    return NULL;
}

/* Of a domain that is there twice the last one counts, whole. */
static enum rc take_routes(cfg_t *cfg, const char *file, struct conf *conf, struct buf *why)
{
    size_t capacity = 0;
    for (unsigned r = 0; r < cfg_size(cfg, "relay"); r++) {
        cfg_t *relay = cfg_getnsec(cfg, "relay", r);
        for (unsigned i = 0; i < cfg_size(relay, "route"); i++) {
            cfg_t *set = cfg_getnsec(relay, "route", i);
            struct conf_route *at = find_route(conf, cfg_title(set));
            if (!at) {
                conf->relay.routes =
                    mem_array(conf->relay.routes, &capacity, conf->relay.n_routes + 1, sizeof *at);
                at = &conf->relay.routes[conf->relay.n_routes++];
            } else {
                route_clear(at);
            }
            TRY(take_route(set, file, at, why));
        }
    }
    return RC_OK;
}

static void use_system_name(struct conf *conf)
{
    char name[256] = "";
    if (conf->hostname[0])
        return;
    free(conf->hostname);
    if (gethostname(name, sizeof name - 1) != 0 || !conf_is_hostname(name))
        strcpy(name, "localhost");
    conf->hostname = mem_dup(name, strlen(name));
}

/* The library ends the process when it is given something that opens and cannot be read. */
static enum rc is_readable(const char *path, struct buf *why)
{
    struct stat st;
    int error = stat(path, &st) != 0 || access(path, R_OK) != 0 ? errno : 0;
    if (!error && !S_ISREG(st.st_mode))
        error = EISDIR;
    if (!error)
        return RC_OK;
    buf_putf(why, "%s: %s\n", path, error == EISDIR ? "not a file" : strerror(error));
    return error == EISDIR ? RC_SYNTAX : rc_from_errno(error);
}

static enum rc check_tls(const struct conf *conf, struct buf *why)
{
    char where[CONF_WHERE];
    const void *given = conf->tls.key[0] ? &conf->tls.key : &conf->tls.certificate;
    if (!conf->tls.certificate[0] == !conf->tls.key[0])
        return RC_OK;
    buf_putf(why, "%s: tls: certificate and key are needed both, or neither\n",
             conf_where(conf, given, where));
    return RC_SYNTAX;
}

static enum rc check_oauth(const struct conf *conf, struct buf *why)
{
    char where[CONF_WHERE];
    const char *what = NULL;
    const void *given = &conf->oauth.issuer;
    bool has_keys = conf->oauth.keys_url[0] || conf->oauth.keys_file[0];
    if (conf->oauth.issuer[0] && !conf->oauth.audience.n)
        what = "audience is needed: what \"aud\" is in tokens for this server";
    else if (conf->oauth.keys_url[0] && conf->oauth.keys_file[0])
        what = "keys_url or keys_file, not both";
    else if (!conf->oauth.issuer[0] && has_keys)
        what = "keys without an issuer";
    if (!what)
        return RC_OK;
    if (!conf->oauth.issuer[0])
        given = conf->oauth.keys_url[0] ? &conf->oauth.keys_url : &conf->oauth.keys_file;
    buf_putf(why, "%s: oauth: %s\n", conf_where(conf, given, where), what);
    return RC_SYNTAX;
}

/* What no single value shows. */
static enum rc check_whole(const struct conf *conf, struct buf *why)
{
    TRY(check_tls(conf, why));
    return check_oauth(conf, why);
}

/* The library's own copy of the text: NUL-terminated, without comments, whose lines it counts
 * wrong. */
static char *without_comments(struct str text)
{
    char *copy = mem_alloc(text.n + 1);
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    conf_blank_comments(copy);
    return copy;
}

enum rc conf_parse(struct str text, const char *path, struct conf **out, struct buf *why)
{
    if (text.n > FILE_MAX || memchr(text.p, '\0', text.n)) {
        buf_putf(why, "%s: %s\n", path, text.n > FILE_MAX ? "too long" : "not a text");
        return RC_SYNTAX;
    }
    struct parsing p = {0};
    cfg_t *cfg = NULL;
    char *copy = without_comments(text);
    enum rc rc = parse_all(copy, &p, &cfg);
    free(copy);
    conf_faults_tell(&p.faults, path, why);
    struct conf *conf = mem_zero(sizeof *conf);
    conf->origin = mem_zero(sizeof *conf->origin);
    conf->origin->path = mem_dup(path, strlen(path));
    memcpy(conf->origin->lines, p.lines, sizeof p.lines);
    for (size_t i = 0; i < conf_n_keys && rc == RC_OK; i++)
        rc = take(where_set(cfg, &conf_keys[i]), &conf_keys[i], path, conf);
    if (rc == RC_OK)
        rc = take_routes(cfg, path, conf, why);
    cfg_free(cfg);
    if (rc == RC_OK)
        rc = check_whole(conf, why);
    if (rc == RC_OK) {
        use_system_name(conf);
        *out = conf;
    } else {
        conf_free(&conf);
    }
    return rc;
}

static enum rc read_file(const char *path, struct buf *text)
{
    FILE *in = fopen(path, "re");
    enum rc rc = in ? RC_OK : rc_from_errno(errno);
    for (bool more = in != NULL; more;) {
        char *at = buf_reserve(text, 4096);
        size_t n = at ? fread(at, 1, 4096, in) : 0;
        buf_commit(text, n);
        more = n > 0;
        rc = !at ? RC_LIMIT : ferror(in) ? RC_TEMP : RC_OK;
    }
    if (in)
        fclose(in);
    return rc;
}

enum rc conf_load(const char *path, struct conf **out, struct buf *why)
{
    struct buf text;
    TRY(is_readable(path, why));
    buf_init(&text, FILE_MAX);
    enum rc rc = read_file(path, &text);
    if (rc == RC_OK)
        rc = conf_parse(buf_str(&text).p ? buf_str(&text) : STR(""), path, out, why);
    else
        buf_putf(why, "%s: %s\n", path, rc == RC_LIMIT ? "too long" : "cannot be read");
    buf_fini(&text);
    return rc;
}

const char *conf_where(const struct conf *conf, const void *member, char out[CONF_WHERE])
{
    int line = 0;
    for (size_t i = 0; i < conf_n_keys; i++)
        if ((const char *)conf + conf_keys[i].offset == member)
            line = conf->origin->lines[i];
    snprintf(out, CONF_WHERE, line ? "%s:%d" : "%s", conf->origin->path, line);
    return out;
}

void conf_free(struct conf **conf)
{
    if (!*conf)
        return;
    for (size_t i = 0; i < conf_n_keys; i++)
        release(&conf_keys[i], *conf);
    for (size_t i = 0; i < (*conf)->relay.n_routes; i++)
        route_clear(&(*conf)->relay.routes[i]);
    free((*conf)->relay.routes);
    if ((*conf)->origin)
        free((*conf)->origin->path);
    free((*conf)->origin);
    free(*conf);
    *conf = NULL;
}
