/* A configuration as a file that would give the same one: every key with its value. */
#include "conf/conf_int.h"

#include <string.h>

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

static void show_value(const void *base, const struct key *key, struct buf *out)
{
    const void *at = (const char *)base + key->offset;
    const struct conf_list *list = at;
    switch (key->kind) {
    case TEXT:
    case RATES:
    case NAME:
    case CHOICE:
    case PATH:
    case HOST:
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
    case NAMES:
    case USERS:
    case WORDLIST:
    case ALGORITHMS:
    case IPS:
        buf_put(out, STR("{"));
        for (size_t i = 0; i < list->n; i++) {
            buf_put(out, i ? STR(", ") : STR(""));
            show_text(list->item[i], out);
        }
        buf_put(out, STR("}"));
        break;
    }
}

static void show_routes(const struct conf *conf, struct buf *out)
{
    for (size_t r = 0; r < conf->relay.n_routes; r++) {
        buf_put(out, STR("    route "));
        show_text(conf->relay.routes[r].domain, out);
        buf_put(out, STR(" {\n"));
        for (size_t i = 0; i < conf_n_route_keys; i++) {
            buf_putf(out, "        %s = ", conf_route_keys[i].name);
            show_value(&conf->relay.routes[r], &conf_route_keys[i], out);
            buf_put(out, STR("\n"));
        }
        buf_put(out, STR("    }\n"));
    }
}

void conf_show(const struct conf *conf, struct buf *out)
{
    const char *open = NULL;
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct key *key = &conf_keys[i];
        if (open && (!key->section || strcmp(open, key->section) != 0)) {
            if (strcmp(open, "relay") == 0)
                show_routes(conf, out);
            buf_put(out, STR("}\n"));
        }
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
