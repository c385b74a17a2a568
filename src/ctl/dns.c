/* `penfold dns DOMAIN`: what to publish, ready to be put into a zone. */
#include "ctl/ctl_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PEM_MAX = 1 << 20, STRING_MAX = 255, DOMAIN_MAX = 253 };

/* Character strings hold 255 bytes [RFC1035 3.3.14]; what is longer stands in several. */
static void put_text(struct str value)
{
    bool is_long = value.n > STRING_MAX;
    if (is_long)
        fputs("(\n", stdout);
    do {
        struct str part = str_head(value, STRING_MAX);
        fputs(is_long ? "    \"" : "\"", stdout);
        for (size_t i = 0; i < part.n; i++)
            printf(part.p[i] == '"' || part.p[i] == '\\' ? "\\%c" : "%c", part.p[i]);
        fputs(is_long ? "\"\n" : "\"", stdout);
        value = str_skip(value, part.n);
    } while (value.n);
    fputs(is_long ? ")\n" : "\n", stdout);
}

static void put_zone(const struct records *r)
{
    struct str rest = r->sts_policy, line;
    for (size_t i = 0; i < r->n; i++) {
        const struct record *item = &r->item[i];
        if (item->note && (i == 0 || item->note != r->item[i - 1].note))
            printf("; %s\n", item->note);
        printf("%.*s. 3600 IN %s ", STR_ARG(item->name), record_type(item->kind));
        if (strcmp(record_type(item->kind), "TXT") == 0)
            put_text(item->value);
        else
            printf("%.*s\n", STR_ARG(item->value));
    }
    printf("; %.*s\n", STR_ARG(r->sts_url));
    while (str_cut(&rest, '\n', &line))
        if (line.n)
            printf(";   %.*s\n", STR_ARG(line));
}

static void put_json(struct records *r)
{
    static const char *const columns[] = {"name", "type", "ttl", "value"};
    const struct record policy = {
        .kind = RECORD_POLICY, .name = r->sts_url, .value = r->sts_policy};
    struct admin_answer a = {0};
    for (size_t i = 0; i < 4; i++)
        a.columns[a.n_columns++] = str_of(columns[i]);
    a.cells = arena_zero(&r->arena, 4 * (r->n + 1) * sizeof *a.cells);
    for (size_t i = 0; i <= r->n; i++) {
        const struct record *item = i < r->n ? &r->item[i] : &policy;
        a.cells[a.n_cells++] = item->name;
        a.cells[a.n_cells++] = str_of(record_type(item->kind));
        a.cells[a.n_cells++] = STR("3600");
        a.cells[a.n_cells++] = item->value;
    }
    ctl_print_json(&a);
}

void ctl_read_file(const char *path, struct buf *out)
{
    int fd = path[0] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = 0;
    buf_init(out, PEM_MAX);
    for (char *at; fd >= 0 && (at = buf_reserve(out, 4096)) && (n = read(fd, at, 4096)) > 0;)
        buf_commit(out, (size_t)n);
    if (fd >= 0)
        close(fd);
}

static int print(const struct conf *conf, const char *domain, struct str chain,
                 const struct admin_answer *keys, bool is_json)
{
    struct records records;
    int status = CTL_FAILED;
    if (ctl_records(conf, domain, chain, keys, &records) == RC_OK) {
        if (is_json)
            put_json(&records);
        else
            put_zone(&records);
        status = fflush(stdout) == 0 && !ferror(stdout) ? CTL_DONE : CTL_FAILED;
    }
    records_fini(&records);
    return status;
}

int ctl_dns(const struct conf *conf, const struct str *args, size_t n, bool is_json)
{
    struct str domain = n == 1 ? args[0] : STR("");
    const struct str words[] = {STR("dkim"), STR("list"), domain};
    const struct admin_request request = {.words = words, .n_words = 3};
    struct admin_answer keys = {0};
    struct buf chain;
    char name[DOMAIN_MAX + 1];
    int status = CTL_FAILED;
    if (n != 1) {
        fprintf(stderr, "penfold: usage: penfold dns DOMAIN\n");
        return CTL_USAGE;
    }
    for (size_t i = 0; i < domain.n && i < DOMAIN_MAX; i++)
        name[i] = ascii_lower(domain.p[i]);
    name[domain.n < DOMAIN_MAX ? domain.n : DOMAIN_MAX] = '\0';
    ctl_read_file(conf->tls.certificate, &chain);
    if (ctl_carry_out(conf, &request, &keys) == RC_OK) {
        if (keys.rc == RC_OK)
            status = print(conf, name, buf_str(&chain), &keys, is_json);
        else
            fprintf(stderr, "penfold: %.*s\n", STR_ARG(keys.error));
    }
    admin_answer_fini(&keys);
    buf_fini(&chain);
    return status;
}
