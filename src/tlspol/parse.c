/* MTA-STS: the TXT record and the policy, from bytes that anybody can have written [RFC8461 3.1]
 * [RFC8461 3.2]. Pure.
 *
 * Unknown fields are passed over and of a field that comes twice the first one counts, as the RFC
 * has it; a line that is no field makes the policy one that is not there. */
#include "tlspol/tlspol_int.h"

#include <string.h>

enum { NAME_MAX_BYTES = 32, AGE_MAX = 31557600, AGE_DIGITS = 10 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct str trim_blanks(struct str s)
{
    while (s.n && is_blank(s.p[0]))
        s = str_skip(s, 1);
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool is_alnum(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c);
}

static bool is_field_name(struct str s)
{
    if (s.n == 0 || s.n > NAME_MAX_BYTES || !is_alnum(s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !memchr("_-.", s.p[i], 3))
            return false;
    return true;
}

/* --- the TXT record ----------------------------------------------------------------------------
 */

static bool is_id(struct str s)
{
    if (s.n == 0 || s.n > TLSPOL_ID_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]))
            return false;
    return true;
}

static bool is_txt_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_print(s.p[i]) || s.p[i] == ' ' || s.p[i] == '=' || s.p[i] == ';')
            return false;
    return s.n > 0;
}

static enum rc txt_field(struct str field, struct str *id)
{
    ptrdiff_t equals = str_find_byte(field, '=');
    if (equals < 0)
        return RC_SYNTAX;
    struct str name = str_head(field, (size_t)equals), value = str_skip(field, (size_t)equals + 1);
    if (!str_eq(name, STR("id")))
        return is_field_name(name) && is_txt_value(value) ? RC_OK : RC_SYNTAX;
    if (!is_id(value))
        return RC_SYNTAX;
    if (str_is_null(*id)) /* the first one counts */
        *id = value;
    return RC_OK;
}

enum rc tlspol_txt_parse(struct str record, struct str *out_id)
{
    struct str field, id = {0};
    if (!str_starts(record, STR("v=STSv1")))
        return RC_NOTFOUND;
    record = trim_blanks(str_skip(record, 7));
    if (!str_starts(record, STR(";")))
        return RC_NOTFOUND;
    record = str_skip(record, 1);
    while (str_cut(&record, ';', &field)) {
        field = trim_blanks(field);
        if (field.n == 0 && str_is_null(record)) /* behind the last delimiter */
            break;
        TRY(txt_field(field, &id));
    }
    *out_id = id;
    return str_is_null(id) ? RC_SYNTAX : RC_OK;
}

/* --- the policy --------------------------------------------------------------------------------
 */

struct reading {
    struct arena *arena;
    struct tlspol_policy *out;
    struct str *mx;
    bool has_version, has_mode, has_age;
};

static enum rc take_version(struct reading *r, struct str value)
{
    if (r->has_version)
        return RC_OK;
    r->has_version = true;
    return str_eq(value, STR("STSv1")) ? RC_OK : RC_SYNTAX;
}

static enum rc take_mode(struct reading *r, struct str value)
{
    static const char *const modes[] = {"none", "testing", "enforce"};
    if (r->has_mode)
        return RC_OK;
    r->has_mode = true;
    for (int i = 0; i < 3; i++)
        if (str_eq(value, str_of(modes[i]))) {
            r->out->mode = (enum tlspol_mode)i;
            return RC_OK;
        }
    return RC_SYNTAX;
}

static enum rc take_age(struct reading *r, struct str value)
{
    if (r->has_age)
        return RC_OK;
    r->has_age = true;
    if (value.n > AGE_DIGITS || str_to_u64(value, &r->out->max_age) != RC_OK)
        return RC_SYNTAX;
    if (r->out->max_age > AGE_MAX)
        r->out->max_age = AGE_MAX;
    return RC_OK;
}

static enum rc take_mx(struct reading *r, struct str value)
{
    struct str host = str_starts(value, STR("*.")) ? str_skip(value, 2) : value;
    if (!dns_is_host(host))
        return RC_SYNTAX;
    if (!r->mx)
        r->mx = arena_alloc(r->arena, TLSPOL_MX_MAX * sizeof *r->mx);
    char *p = arena_alloc(r->arena, value.n);
    if (r->out->n_mx == TLSPOL_MX_MAX || !r->mx || !p)
        return RC_LIMIT;
    for (size_t i = 0; i < value.n; i++)
        p[i] = ascii_lower(value.p[i]);
    r->mx[r->out->n_mx++] = str_from(p, value.n);
    return RC_OK;
}

static const struct {
    const char *name;
    enum rc (*take)(struct reading *r, struct str value);
} fields[] = {
    {"version", take_version}, {"mode", take_mode}, {"max_age", take_age}, {"mx", take_mx}};

static bool is_policy_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

static enum rc take_line(struct reading *r, struct str line)
{
    if (str_ends(line, STR("\r")))
        line.n--;
    line = trim_blanks(line);
    if (line.n == 0)
        return RC_OK;
    ptrdiff_t colon = str_find_byte(line, ':');
    if (colon < 0)
        return RC_SYNTAX;
    struct str name = str_head(line, (size_t)colon);
    struct str value = trim_blanks(str_skip(line, (size_t)colon + 1));
    if (!is_field_name(name) || !is_policy_value(value))
        return RC_SYNTAX;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (str_eq(name, str_of(fields[i].name)))
            return fields[i].take(r, value);
    return RC_OK;
}

static enum rc parse(struct str text, struct reading *r)
{
    struct str line;
    if (text.n > TLSPOL_TEXT_MAX)
        return RC_LIMIT;
    while (str_cut(&text, '\n', &line))
        TRY(take_line(r, line));
    r->out->mx = r->mx;
    if (!r->has_version || !r->has_mode || !r->has_age)
        return RC_SYNTAX;
    return r->out->n_mx > 0 || r->out->mode == TLSPOL_NONE ? RC_OK : RC_SYNTAX;
}

enum rc tlspol_parse(struct str text, struct arena *arena, struct tlspol_policy *out)
{
    struct reading r = {.arena = arena, .out = out};
    *out = (struct tlspol_policy){0};
    enum rc rc = parse(text, &r);
    if (rc != RC_OK)
        *out = (struct tlspol_policy){0}; /* nothing is asked */
    return rc;
}

static bool matches(struct str pattern, struct str host)
{
    if (!str_starts(pattern, STR("*.")))
        return str_ieq(pattern, host);
    ptrdiff_t dot = str_find_byte(host, '.'); /* the star is one label */
    return dot > 0 && str_ieq(str_skip(pattern, 1), str_skip(host, (size_t)dot));
}

bool tlspol_matches(const struct tlspol_policy *policy, struct str host)
{
    for (size_t i = 0; i < policy->n_mx; i++)
        if (matches(policy->mx[i], host))
            return true;
    return false;
}
