/* The configuration file, through libconfuse, which is met in this file alone.
 *
 * One table says for each key where it belongs, what kind of value it takes and its default; the
 * library's option lists, the copying into struct conf, conf_show and conf_free are all made from
 * it. Values are checked while the file is parsed, so that a complaint carries its line.
 */
#include "conf/conf_int.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ADDRESSES and NETWORKS are lists: "127.0.0.1:25", "[::]:25"; "127.0.0.0/8", "::1". PLACES are
 * addresses, or paths: whatever has a slash. */
enum kind { TEXT, NAME, PATH, SIZE, TIME, NUMBER, ADDRESSES, PLACES, NETWORKS, CHOICE, PLAINTEXT };

struct key {
    const char *section; /* NULL: top level */
    const char *name;
    enum kind kind;
    size_t offset;          /* in struct conf */
    const char *fallback;   /* as text; the entries of a list between commas */
    uint64_t least, most;   /* of a number, a size or a time; most 0: no limit */
    const char *choices[4]; /* of a CHOICE */
};

#define KEY(section, name, kind, member, fallback)                                                 \
    {                                                                                              \
        section, name, kind, offsetof(struct conf, member), fallback, 0, 0,                        \
        {                                                                                          \
            NULL                                                                                   \
        }                                                                                          \
    }
#define AMOUNT(section, name, kind, member, fallback, least, most)                                 \
    {                                                                                              \
        section, name, kind, offsetof(struct conf, member), fallback, least, most,                 \
        {                                                                                          \
            NULL                                                                                   \
        }                                                                                          \
    }
#define WORDS(section, name, kind, member, fallback, ...)                                          \
    {                                                                                              \
        section, name, kind, offsetof(struct conf, member), fallback, 0, 0, __VA_ARGS__            \
    }
#define TIB (UINT64_C(1) << 40)
enum { YEAR = 365 * 86400, DAY = 86400 };

static const struct key keys[] = {
    KEY(NULL, "hostname", NAME, hostname, ""),
    AMOUNT(NULL, "data", PATH, data, "/var/lib/penfold", 1, 0),
    AMOUNT(NULL, "user", TEXT, user, "penfold", 1, 0),
    WORDS(NULL, "log", CHOICE, log_level, "info", {"debug", "info", "warning", "error"}),
    WORDS("store", "engine", CHOICE, store.engine, "local", {"local", "rados"}),
    AMOUNT("store", "memory", SIZE, store.memory, "64M", 1 << 20, TIB),
    AMOUNT("store", "queue", SIZE, store.queue, "64M", 1 << 20, TIB),
    AMOUNT("store", "reserve", SIZE, store.reserve, "64M", 0, 1024 * TIB),
    AMOUNT("store", "segment", SIZE, store.segment, "256M", 1 << 20, UINT64_C(4) << 30),
    AMOUNT("store", "clean_rate", SIZE, store.clean_rate, "16M", 64 << 10, TIB),
    AMOUNT("store", "undelete", TIME, store.undelete, "7d", 0, 100ULL * YEAR),
    AMOUNT("store", "keep_removed", TIME, store.keep_removed, "30d", 0, 100ULL * YEAR),
    AMOUNT("store", "ceph_conf", PATH, store.ceph_conf, "/etc/ceph/ceph.conf", 1, 0),
    AMOUNT("store", "ceph_user", TEXT, store.ceph_user, "client.penfold", 1, 0),
    AMOUNT("store", "ceph_keyring", PATH, store.ceph_keyring,
           "/etc/ceph/ceph.client.penfold.keyring", 1, 0),
    AMOUNT("store", "pool", TEXT, store.pool, "penfold", 1, 0),
    KEY("store", "body_pool", TEXT, store.body_pool, ""),
    AMOUNT("store", "name", TEXT, store.name, "penfold", 1, 0),
    KEY("store", "plugin", PATH, store.plugin, ""),
    KEY("tls", "certificate", PATH, tls.certificate, ""),
    KEY("tls", "key", PATH, tls.key, ""),
    KEY("listen", "smtp", ADDRESSES, listen.smtp, "0.0.0.0:25,[::]:25"),
    KEY("listen", "submission", ADDRESSES, listen.submission, "0.0.0.0:587,[::]:587"),
    KEY("listen", "submissions", ADDRESSES, listen.submissions, "0.0.0.0:465,[::]:465"),
    KEY("listen", "lmtp", PLACES, listen.lmtp, "/run/penfold/lmtp"),
    KEY("listen", "pop3", ADDRESSES, listen.pop3, "0.0.0.0:110,[::]:110"),
    KEY("listen", "pop3s", ADDRESSES, listen.pop3s, "0.0.0.0:995,[::]:995"),
    KEY("listen", "imap", ADDRESSES, listen.imap, "0.0.0.0:143,[::]:143"),
    KEY("listen", "imaps", ADDRESSES, listen.imaps, "0.0.0.0:993,[::]:993"),
    KEY("listen", "admin", ADDRESSES, listen.admin, "127.0.0.1:8081"),
    WORDS("smtp", "vrfy", CHOICE, smtp.vrfy, "off", {"off", "on"}),
    WORDS("submission", "from", CHOICE, submission.from, "own", {"own", "any"}),
    WORDS("auth", "plaintext", PLAINTEXT, auth.plaintext, "never", {"never", "loopback"}),
    AMOUNT("auth", "hash_ops", NUMBER, auth.hash_ops, "3", 1, 1000),
    AMOUNT("auth", "hash_memory", SIZE, auth.hash_memory, "64M", 8 << 10, UINT64_C(4) << 30),
    AMOUNT("auth", "hash_threads", NUMBER, auth.hash_threads, "2", 1, 256),
    AMOUNT("auth", "account_failures", NUMBER, auth.account_failures, "20", 1, 1000000),
    AMOUNT("auth", "address_failures", NUMBER, auth.address_failures, "10", 1, 1000000),
    AMOUNT("auth", "network_failures", NUMBER, auth.network_failures, "50", 1, 1000000),
    AMOUNT("auth", "failure_time", TIME, auth.failure_time, "15m", 1, 7 * DAY),
    AMOUNT("auth", "delay_max", TIME, auth.delay_max, "15s", 1, 60),
    AMOUNT("limits", "message_size", SIZE, limits.message_size, "50M", 1 << 10, UINT64_C(2) << 30),
    AMOUNT("limits", "recipients", NUMBER, limits.recipients, "100", 1, 1000),
    AMOUNT("limits", "connections", NUMBER, limits.connections, "20000", 1, 1000000),
    AMOUNT("limits", "per_address", NUMBER, limits.per_address, "50", 1, 1000000),
    AMOUNT("limits", "handshakes", NUMBER, limits.handshakes, "1000", 1, 1000000),
    AMOUNT("limits", "handshakes_per_address", NUMBER, limits.handshakes_per_address, "20", 1,
           1000000),
    AMOUNT("limits", "memory", SIZE, limits.memory, "256M", 1 << 20, TIB),
    AMOUNT("limits", "command_time", TIME, limits.command_time, "5m", 1, DAY),
    AMOUNT("limits", "data_time", TIME, limits.data_time, "3m", 1, DAY),
    AMOUNT("limits", "login_delay", TIME, limits.login_delay, "0", 0, DAY),
    AMOUNT("limits", "data_rate", SIZE, limits.data_rate, "1k", 1, TIB),
    WORDS("limits", "over_quota", CHOICE, limits.over_quota, "later", {"later", "refuse"}),
    AMOUNT("limits", "reload_time", TIME, limits.reload_time, "1d", 1, YEAR),
    KEY("limits", "trusted", NETWORKS, limits.trusted, "127.0.0.0/8,::1"),
};

enum { N_KEYS = sizeof keys / sizeof *keys, MAX_IN_SECTION = 24, FILE_MAX = 1 << 20 };

/* Where everything was found. */
struct conf_origin {
    char *path;
    int lines[N_KEYS]; /* 0: nowhere */
};

static const char *const sections[] = {"store",      "tls",  "listen", "smtp",
                                       "submission", "auth", "limits"};
enum { N_SECTIONS = sizeof sections / sizeof *sections };

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

static bool is_list(const struct key *key)
{
    return key->kind == ADDRESSES || key->kind == PLACES || key->kind == NETWORKS;
}

static int choice_of(const struct key *key, const char *text)
{
    for (int i = 0; i < 4 && key->choices[i]; i++)
        if (strcmp(text, key->choices[i]) == 0)
            return i;
    return -1;
}

/* The system's form of an address, IPv4 or IPv6; *out_bits is how long a prefix of it may be. */
static bool is_ip(struct str text, unsigned *out_bits)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    bool is_v4 = inet_pton(AF_INET, copy, bytes) == 1;
    *out_bits = is_v4 ? 32 : 128;
    return is_v4 || inet_pton(AF_INET6, copy, bytes) == 1;
}

static bool is_address(const char *text)
{
    struct str s = str_of(text);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    unsigned bits;
    if (!colon || str_to_u64(str_of(colon + 1), &port) != RC_OK || port == 0 || port > UINT16_MAX)
        return false;
    struct str host = str_head(s, (size_t)(colon - text));
    if (host.n < 2 || host.p[0] != '[')
        return is_ip(host, &bits) && bits == 32;
    return host.p[host.n - 1] == ']' && is_ip(str_sub(host, 1, host.n - 2), &bits) && bits == 128;
}

static bool is_network(const char *text)
{
    const char *slash = strchr(text, '/');
    uint64_t length = 0;
    unsigned bits;
    struct str host = slash ? str_head(str_of(text), (size_t)(slash - text)) : str_of(text);
    if (!is_ip(host, &bits))
        return false;
    return !slash || (str_to_u64(str_of(slash + 1), &length) == RC_OK && length <= bits);
}

bool conf_is_hostname(const char *text)
{
    struct str rest = str_of(text), label;
    size_t n = rest.n;
    if (n == 0 || n > 253)
        return false;
    while (str_cut(&rest, '.', &label)) {
        if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!ascii_is_alpha(label.p[i]) && !ascii_is_digit(label.p[i]) && label.p[i] != '-')
                return false;
    }
    return text[n - 1] != '.';
}

static enum rc parse_amount(const struct key *key, const char *text, uint64_t *out)
{
    TRY(key->kind == SIZE   ? conf_parse_size(text, out)
        : key->kind == TIME ? conf_parse_time(text, out)
                            : str_to_u64(str_of(text), out));
    return *out < key->least || (key->most && *out > key->most) ? RC_LIMIT : RC_OK;
}

/* What a value was expected to be, when it is not. */
static bool is_unexpected(const struct key *key, const char *value, char expected[128])
{
    static const char *const forms[] = {
        [TEXT] = "something",
        [NAME] = "a host name",
        [PATH] = "something",
        [SIZE] = "a size such as 50M",
        [TIME] = "a time such as 30s, 5m or 7d",
        [NUMBER] = "a number",
        [ADDRESSES] = "an address and a port, such as 127.0.0.1:25 or [::]:25",
        [PLACES] = "an address and a port, such as 127.0.0.1:24, or the path of a socket",
        [NETWORKS] = "a network, such as 127.0.0.0/8 or ::1",
    };
    uint64_t amount;
    enum rc rc = RC_OK;
    switch (key->kind) {
    case TEXT:
    case PATH:
        rc = key->least && !value[0] ? RC_SYNTAX : RC_OK;
        break;
    case NAME:
        rc = !value[0] || conf_is_hostname(value) ? RC_OK : RC_SYNTAX;
        break;
    case SIZE:
    case TIME:
    case NUMBER:
        rc = parse_amount(key, value, &amount);
        break;
    case ADDRESSES:
        rc = is_address(value) ? RC_OK : RC_SYNTAX;
        break;
    case PLACES:
        rc = strchr(value, '/') || is_address(value) ? RC_OK : RC_SYNTAX;
        break;
    case NETWORKS:
        rc = is_network(value) ? RC_OK : RC_SYNTAX;
        break;
    case CHOICE:
    case PLAINTEXT:
        expected[0] = '\0';
        for (int i = 0; i < 4 && key->choices[i]; i++)
            snprintf(expected + strlen(expected), 128 - strlen(expected), "%s\"%s\"",
                     i ? " or " : "", key->choices[i]);
        return choice_of(key, value) < 0;
    }
    if (rc == RC_LIMIT)
        snprintf(expected, 128, "%llu to %llu", (unsigned long long)key->least,
                 (unsigned long long)key->most);
    else
        snprintf(expected, 128, "%s", forms[key->kind]);
    return rc != RC_OK;
}

static const struct key *key_of(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *section = strcmp(cfg_name(cfg), "root") == 0 ? NULL : cfg_name(cfg);
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].name, cfg_opt_name(opt)) == 0 &&
            (section ? keys[i].section && strcmp(section, keys[i].section) == 0 : !keys[i].section))
            return &keys[i];
    return NULL;
}

/* What happens while a text is parsed: the library offers no argument for its callbacks. */
struct parsing {
    struct conf_faults faults;
    int lines[N_KEYS];
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
    if (key && is_unexpected(key, value, expected)) {
        cfg_error(cfg, "%s = \"%s\": expected %s", key->name, value, expected);
        parsing->has_bad_value = true;
    }
    if (key)
        parsing->lines[key - keys] = cfg->line;
    *(const char **)result = value;
    return 0;
}

static cfg_opt_t option_of(const struct key *key)
{
    if (is_list(key)) {
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
    list->item[list->n++] = mem_dup(text.p, text.n);
}

static enum rc take_list(cfg_t *set, const struct key *key, const char *file,
                         struct conf_list *list, struct buf *why)
{
    struct str rest = str_of(key->fallback), part;
    while (!set && str_cut(&rest, ',', &part))
        list_add_text(list, part);
    unsigned n = set ? cfg_size(set, key->name) : 0;
    if (n > CONF_LIST_MAX) {
        buf_putf(why, "%s: %s has more than %d entries\n", file, key->name, CONF_LIST_MAX);
        return RC_SYNTAX;
    }
    for (unsigned i = 0; i < n; i++) {
        const char *value = cfg_getnstr(set, key->name, i);
        if (key->kind == PLACES && strchr(value, '/'))
            list->item[list->n++] = from_folder_of(file, value);
        else
            list_add_text(list, str_of(value));
    }
    return RC_OK;
}

static enum rc take(cfg_t *cfg, const struct key *key, const char *file, struct conf *conf,
                    struct buf *why)
{
    cfg_t *set = where_set(cfg, key);
    void *to = (char *)conf + key->offset;
    if (is_list(key))
        return take_list(set, key, file, to, why);
    const char *value = set ? cfg_getstr(set, key->name) : key->fallback;
    switch (key->kind) {
    case TEXT:
    case NAME:
    case CHOICE:
        *(char **)to = mem_dup(value, strlen(value));
        return RC_OK;
    case PATH:
        *(char **)to = from_folder_of(file, value);
        return RC_OK;
    case SIZE:
    case TIME:
    case NUMBER:
        return parse_amount(key, value, to);
    case PLAINTEXT:
        *(enum conf_plaintext *)to = (enum conf_plaintext)choice_of(key, value);
        return RC_OK;
    case ADDRESSES:
    case PLACES:
    case NETWORKS:
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

/* What no single value shows. */
static enum rc check_whole(const struct conf *conf, struct buf *why)
{
    char where[CONF_WHERE];
    const void *given = conf->tls.key[0] ? &conf->tls.key : &conf->tls.certificate;
    if (!conf->tls.certificate[0] == !conf->tls.key[0])
        return RC_OK;
    buf_putf(why, "%s: tls: certificate and key are needed both, or neither\n",
             conf_where(conf, given, where));
    return RC_SYNTAX;
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
    for (size_t i = 0; i < N_KEYS && rc == RC_OK; i++)
        rc = take(cfg, &keys[i], path, conf, why);
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
    for (size_t i = 0; i < N_KEYS; i++)
        if ((const char *)conf + keys[i].offset == member)
            line = conf->origin->lines[i];
    snprintf(out, CONF_WHERE, line ? "%s:%d" : "%s", conf->origin->path, line);
    return out;
}

void conf_free(struct conf **conf)
{
    if (!*conf)
        return;
    for (size_t i = 0; i < N_KEYS; i++) {
        void *at = (char *)*conf + keys[i].offset;
        enum kind kind = keys[i].kind;
        if (kind == TEXT || kind == NAME || kind == PATH || kind == CHOICE)
            free(*(char **)at);
        if (!is_list(&keys[i]))
            continue;
        struct conf_list *list = at;
        for (size_t n = 0; n < list->n; n++)
            free(list->item[n]);
    }
    if ((*conf)->origin)
        free((*conf)->origin->path);
    free((*conf)->origin);
    free(*conf);
    *conf = NULL;
}

/* As the library reads it between double quotes, where a $ begins the name of a variable. */
static void show_text(const char *text, struct buf *out)
{
    buf_put(out, STR("\""));
    for (; *text; text++) {
        if (*text == '\n') {
            buf_put(out, STR("\\n"));
            continue;
        }
        if (strchr("\"\\$", *text))
            buf_put(out, STR("\\"));
        buf_put(out, str_from(text, 1));
    }
    buf_put(out, STR("\""));
}

static void show_value(const struct conf *conf, const struct key *key, struct buf *out)
{
    const void *at = (const char *)conf + key->offset;
    const struct conf_list *list = at;
    switch (key->kind) {
    case TEXT:
    case NAME:
    case CHOICE:
    case PATH:
        show_text(*(char *const *)at, out);
        break;
    case PLAINTEXT:
        buf_putf(out, "\"%s\"", key->choices[*(const enum conf_plaintext *)at]);
        break;
    case SIZE:
    case TIME:
    case NUMBER:
        buf_putf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case ADDRESSES:
    case PLACES:
    case NETWORKS:
        buf_put(out, STR("{"));
        for (size_t i = 0; i < list->n; i++) {
            buf_put(out, i ? STR(", ") : STR(""));
            show_text(list->item[i], out);
        }
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
