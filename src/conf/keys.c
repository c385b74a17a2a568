/* The keys of the configuration: one row for each says where it belongs, what kind of value it
 * takes and its default. What the library is told, the copying into struct conf, conf_show and
 * conf_free are all made from these tables (conf.c). */
#include "conf/conf_int.h"

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
#define ROUTE(name, kind, member, fallback, ...)                                                   \
    {                                                                                              \
        "route", name, kind, offsetof(struct conf_route, member), fallback, 0, 0, __VA_ARGS__      \
    }
#define TIB (UINT64_C(1) << 40)
enum { YEAR = 365 * 86400, DAY = 86400 };

const struct key conf_keys[] = {
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
    AMOUNT("store", "body_memory", SIZE, store.body_memory, "0", 0, TIB),
    AMOUNT("store", "name", TEXT, store.name, "penfold", 1, 0),
    KEY("store", "plugin", PATH, store.plugin, ""),
    WORDS("store", "index", CHOICE, store.index, "on", {"on", "off"}),
    AMOUNT("store", "index_text", SIZE, store.index_text, "4M", 64 << 10, UINT64_C(1) << 30),
    KEY("tls", "certificate", PATH, tls.certificate, ""),
    KEY("tls", "key", PATH, tls.key, ""),
    KEY("tls", "ca_file", PATH, tls.ca_file, ""),
    KEY("dns", "resolver", ADDRESSES, dns.resolver, NULL),
    WORDS("dns", "trust_anchor", PATH, dns.trust_anchor, "", {"none"}),
    AMOUNT("dns", "cache", SIZE, dns.cache, "16M", 1 << 20, TIB),
    AMOUNT("mta_sts", "fetch_time", TIME, mta_sts.fetch_time, "30s", 1, 600),
    AMOUNT("mta_sts", "age_max", TIME, mta_sts.age_max, "365d", DAY, YEAR),
    AMOUNT("mta_sts", "domains", NUMBER, mta_sts.domains, "10000", 100, 10000000),
    AMOUNT("mta_sts", "memory", SIZE, mta_sts.memory, "16M", 1 << 20, TIB),
    KEY("listen", "smtp", ADDRESSES, listen.smtp, "0.0.0.0:25,[::]:25"),
    KEY("listen", "submission", ADDRESSES, listen.submission, "0.0.0.0:587,[::]:587"),
    KEY("listen", "submissions", ADDRESSES, listen.submissions, "0.0.0.0:465,[::]:465"),
    KEY("listen", "lmtp", PLACES, listen.lmtp, "/run/penfold/lmtp"),
    KEY("listen", "sendmail", PLACES, listen.sendmail, NULL),
    KEY("listen", "pop3", ADDRESSES, listen.pop3, "0.0.0.0:110,[::]:110"),
    KEY("listen", "pop3s", ADDRESSES, listen.pop3s, "0.0.0.0:995,[::]:995"),
    KEY("listen", "imap", ADDRESSES, listen.imap, "0.0.0.0:143,[::]:143"),
    KEY("listen", "imaps", ADDRESSES, listen.imaps, "0.0.0.0:993,[::]:993"),
    KEY("listen", "admin", ADDRESSES, listen.admin, "127.0.0.1:8081"),
    AMOUNT("dkim", "key", PATH, dkim.key, "dkim.key", 1, 0),
    WORDS("smtp", "vrfy", CHOICE, smtp.vrfy, "off", {"off", "on"}),
    KEY("smtp", "success_reports", RATES, smtp.success_reports, "100/h"),
    WORDS("submission", "from", CHOICE, submission.from, "own", {"own", "any"}),
    KEY("submission", "send_limit", RATES, submission.send_limit, "none"),
    AMOUNT("submission", "send_ramp", TIME, submission.send_ramp, "0", 0, YEAR),
    AMOUNT("submission", "hold_max", TIME, submission.hold_max, "30d", 0, YEAR),
    KEY("sendmail", "trusted", USERS, sendmail.trusted, NULL),
    KEY("relay", "accept", NAMES, relay.accept, NULL),
    KEY("relay", "source", IPS, relay.source, NULL),
    KEY("relay", "avoid", NETWORKS, relay.avoid,
        "0.0.0.0/8,127.0.0.0/8,224.0.0.0/3,::/127,fe80::/10,ff00::/8"),
    AMOUNT("relay", "retry_first", TIME, relay.retry_first, "5m", 1, DAY),
    AMOUNT("relay", "retry_max", TIME, relay.retry_max, "4h", 1, 7 * DAY),
    AMOUNT("relay", "retry_greylisted", TIME, relay.retry_greylisted, "1m", 1, DAY),
    AMOUNT("relay", "delay_notice", TIME, relay.delay_notice, "4h", 0, YEAR),
    AMOUNT("relay", "expire", TIME, relay.expire, "5d", 1, YEAR),
    AMOUNT("relay", "connections", NUMBER, relay.connections, "1000", 0, 100000),
    AMOUNT("relay", "per_host", NUMBER, relay.per_host, "20", 1, 10000),
    AMOUNT("relay", "per_connection", NUMBER, relay.per_connection, "100", 1, 1000000),
    AMOUNT("relay", "recipients", NUMBER, relay.recipients, "100", 1, 1000),
    AMOUNT("relay", "memory", SIZE, relay.memory, "16M", 64 << 10, TIB),
    AMOUNT("relay", "idle_time", TIME, relay.idle_time, "5s", 0, 3600),
    AMOUNT("relay", "connect_time", TIME, relay.connect_time, "30s", 1, 3600),
    AMOUNT("relay", "command_time", TIME, relay.command_time, "5m", 1, 3600),
    AMOUNT("relay", "lookup_least", TIME, relay.lookup_least, "30s", 1, DAY),
    AMOUNT("collect", "interval", TIME, collect.interval, "10m", 60, 30 * DAY),
    AMOUNT("collect", "retry_max", TIME, collect.retry_max, "4h", 60, 30 * DAY),
    AMOUNT("collect", "command_time", TIME, collect.command_time, "1m", 1, 3600),
    AMOUNT("collect", "tell_after", TIME, collect.tell_after, "1d", 60, YEAR),
    AMOUNT("collect", "connections", NUMBER, collect.connections, "20", 0, 10000),
    AMOUNT("collect", "per_account", NUMBER, collect.per_account, "4", 1, 1000),
    AMOUNT("collect", "idle", NUMBER, collect.idle, "10", 0, 10000),
    AMOUNT("collect", "accounts", NUMBER, collect.accounts, "20", 0, 1000),
    AMOUNT("collect", "messages", NUMBER, collect.messages, "100000", 1, 10000000),
    AMOUNT("collect", "message_size", SIZE, collect.message_size, "50M", 1 << 10,
           UINT64_C(1) << 30),
    WORDS("imap", "append_8bit", CHOICE, imap.append_8bit, "enabled", {"enabled", "any"}),
    WORDS("imap", "attachment_keywords", CHOICE, imap.attachment_keywords, "off", {"off", "on"}),
    WORDS("imap", "uidonly", CHOICE, imap.uidonly, "offered", {"offered", "withheld"}),
    AMOUNT("imap", "message_limit", NUMBER, imap.message_limit, "1000000", 1000, UINT32_MAX),
    WORDS("imap", "message_limit_of", CHOICE, imap.message_limit_of, "all", {"all", "save"}),
    AMOUNT("imap", "search_mailboxes", NUMBER, imap.search_mailboxes, "1000", 1, 10000),
    AMOUNT("imap", "notify_names", NUMBER, imap.notify_names, "1000", 1, 10000),
    AMOUNT("imap", "contexts", NUMBER, imap.contexts, "32", 1, 10000),
    AMOUNT("trace", "keep", TIME, trace.keep, "30d", 0, 100ULL * YEAR),
    AMOUNT("trace", "disk", SIZE, trace.disk, "1G", 1 << 20, 1024 * TIB),
    AMOUNT("trace", "memory", SIZE, trace.memory, "4M", 64 << 10, UINT64_C(1) << 30),
    WORDS("auth", "plaintext", PLAINTEXT, auth.plaintext, "never", {"never", "loopback"}),
    AMOUNT("auth", "hash_ops", NUMBER, auth.hash_ops, "3", 1, 1000),
    AMOUNT("auth", "hash_memory", SIZE, auth.hash_memory, "64M", 8 << 10, UINT64_C(4) << 30),
    AMOUNT("auth", "hash_threads", NUMBER, auth.hash_threads, "2", 1, 256),
    WORDS("auth", "scram", CHOICE, auth.scram, "on", {"on", "bound", "keys", "off"}),
    AMOUNT("auth", "scram_iterations", NUMBER, auth.scram_iterations, "20000", 4096, 1000000),
    AMOUNT("auth", "account_failures", NUMBER, auth.account_failures, "20", 1, 1000000),
    AMOUNT("auth", "address_failures", NUMBER, auth.address_failures, "10", 1, 1000000),
    AMOUNT("auth", "network_failures", NUMBER, auth.network_failures, "50", 1, 1000000),
    AMOUNT("auth", "failure_time", TIME, auth.failure_time, "15m", 1, 7 * DAY),
    AMOUNT("auth", "delay_max", TIME, auth.delay_max, "15s", 1, 60),
    WORDS("auth", "new_place", CHOICE, auth.new_place, "mail", {"mail", "log", "off"}),
    AMOUNT("auth", "new_place_mails", NUMBER, auth.new_place_mails, "3", 1, 200),
    KEY("oauth", "issuer", TEXT, oauth.issuer, ""),
    KEY("oauth", "keys_url", TEXT, oauth.keys_url, ""),
    KEY("oauth", "keys_file", PATH, oauth.keys_file, ""),
    KEY("oauth", "audience", WORDLIST, oauth.audience, NULL),
    KEY("oauth", "algorithms", ALGORITHMS, oauth.algorithms, "RS256,ES256"),
    AMOUNT("oauth", "address_claim", TEXT, oauth.address_claim, "email", 1, 0),
    AMOUNT("oauth", "leeway", TIME, oauth.leeway, "1m", 0, 3600),
    AMOUNT("oauth", "fetch_time", TIME, oauth.fetch_time, "10s", 1, 600),
    WORDS("oauth", "logout", CHOICE, oauth.logout, "never", {"never", "expiry"}),
    AMOUNT("limits", "message_size", SIZE, limits.message_size, "50M", 1 << 10, UINT64_C(2) << 30),
    AMOUNT("limits", "recipients", NUMBER, limits.recipients, "100", 1, 1000),
    AMOUNT("limits", "connections", NUMBER, limits.connections, "20000", 1, 1000000),
    AMOUNT("limits", "per_address", NUMBER, limits.per_address, "50", 1, 1000000),
    AMOUNT("limits", "per_account", NUMBER, limits.per_account, "100", 1, 1000000),
    AMOUNT("limits", "handshakes", NUMBER, limits.handshakes, "1000", 1, 1000000),
    AMOUNT("limits", "handshakes_per_address", NUMBER, limits.handshakes_per_address, "20", 1,
           1000000),
    AMOUNT("limits", "compressed", NUMBER, limits.compressed, "10000", 1, 1000000),
    AMOUNT("limits", "memory", SIZE, limits.memory, "256M", 1 << 20, TIB),
    AMOUNT("limits", "command_time", TIME, limits.command_time, "5m", 1, DAY),
    AMOUNT("limits", "data_time", TIME, limits.data_time, "3m", 1, DAY),
    AMOUNT("limits", "login_delay", TIME, limits.login_delay, "0", 0, DAY),
    AMOUNT("limits", "data_rate", SIZE, limits.data_rate, "1k", 1, TIB),
    WORDS("limits", "over_quota", CHOICE, limits.over_quota, "later", {"later", "refuse"}),
    AMOUNT("limits", "reload_time", TIME, limits.reload_time, "1d", 1, YEAR),
    KEY("limits", "proxies", NETWORKS, limits.proxies, NULL),
    KEY("limits", "trusted", NETWORKS, limits.trusted, "127.0.0.0/8,::1"),
};

/* Of relay { route "DOMAIN" { } }. */
const struct key conf_route_keys[] = {
    ROUTE("host", HOST, host, "", {NULL}),
    ROUTE("protocol", CHOICE, protocol, "smtp", {"smtp", "lmtp"}),
    ROUTE("tls", CHOICE, tls, "opportunistic", {"opportunistic", "never", "verify", "implicit"}),
    ROUTE("login", TEXT, login, "", {NULL}),
    ROUTE("password_file", PATH, password_file, "", {NULL}),
    ROUTE("source", IPS, source, NULL, {NULL}),
};

const char *const conf_sections[] = {
    "store",    "tls",   "dns",     "mta_sts", "listen", "dkim", "smtp",  "submission",
    "sendmail", "relay", "collect", "imap",    "trace",  "auth", "oauth", "limits"};

const size_t conf_n_keys = sizeof conf_keys / sizeof *conf_keys,
             conf_n_route_keys = sizeof conf_route_keys / sizeof *conf_route_keys,
             conf_n_sections = sizeof conf_sections / sizeof *conf_sections;
_Static_assert(sizeof conf_keys / sizeof *conf_keys <= CONF_KEYS_MAX, "more room for keys");
_Static_assert(sizeof conf_sections / sizeof *conf_sections <= CONF_SECTIONS_MAX, "and sections");
