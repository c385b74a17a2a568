/* Names: labels on the wire, text everywhere else. No name that comes from a packet holds a byte
 * that could mean something in a log line, a header field or a command [RFC1035 2.3.1, 4.1.4]. */
#include "dns/dns_int.h"

#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 63, WIRE_MAX = 255, POINTERS_MAX = 64 };

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || ascii_is_digit((char)c) || c == '-' || c == '_' || c == '*' ||
           c == '/' || c == '+' || c == '=';
}

static size_t put_label(const unsigned char *label, size_t n, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)ascii_lower((char)label[i]);
        if (is_plain(c)) {
            out[used++] = (char)c;
            continue;
        }
        out[used++] = '\\';
        out[used++] = (char)('0' + c / 100);
        out[used++] = (char)('0' + c / 10 % 10);
        out[used++] = (char)('0' + c % 10);
    }
    return used;
}

enum rc name_read(struct str packet, size_t *at, char *out, size_t *out_n)
{
    const unsigned char *p = (const unsigned char *)packet.p;
    size_t i = *at, used = 0, wire = 0;
    bool has_jumped = false;
    for (unsigned jumps = 0;;) {
        if (i >= packet.n)
            return RC_SYNTAX;
        size_t n = p[i];
        if (n >= 0xc0) { /* a pointer; bounded, so that a ring of them ends [RFC1035 4.1.4] */
            if (i + 1 >= packet.n || ++jumps > POINTERS_MAX)
                return RC_SYNTAX;
            *at = has_jumped ? *at : i + 2;
            has_jumped = true;
            i = (n & 0x3f) << 8 | p[i + 1];
            continue;
        }
        wire += n + 1;
        if (n > LABEL_MAX || wire > WIRE_MAX || i + 1 + n > packet.n)
            return RC_SYNTAX;
        *at = has_jumped ? *at : i + 1 + n;
        if (n == 0)
            break;
        if (used)
            out[used++] = '.';
        used += put_label(p + i + 1, n, out + used);
        i += 1 + n;
    }
    out[used] = '\0';
    *out_n = used;
    return RC_OK;
}

enum rc name_clean(struct str name, char out[DNS_NAME_MAX + 2], size_t *out_n)
{
    if (str_ends(name, STR(".")))
        name.n--;
    if (name.n > DNS_NAME_MAX)
        return RC_SYNTAX;
    struct str rest = name, label;
    while (name.n > 0 && str_cut(&rest, '.', &label))
        if (label.n == 0 || label.n > LABEL_MAX)
            return RC_SYNTAX;
    for (size_t i = 0; i < name.n; i++) {
        if (!ascii_is_print(name.p[i]) || name.p[i] == ' ' || name.p[i] == '\\')
            return RC_SYNTAX;
        out[i] = ascii_lower(name.p[i]);
    }
    out[name.n] = '\0';
    *out_n = name.n;
    return RC_OK;
}

static bool is_host_byte(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '_';
}

bool dns_is_host(struct str name)
{
    struct str rest = name, label;
    if (name.n == 0 || name.n > DNS_NAME_MAX)
        return false;
    while (str_cut(&rest, '.', &label)) {
        if (label.n == 0 || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!is_host_byte(label.p[i]))
                return false;
    }
    return true;
}
