/* Domain names outside ASCII: libidn2 is met here and nowhere else.
 *
 * A label must be a U-label as it stands [RFC6531 3.3] [RFC5890 2.3.2.1]: what a mail program
 * should have folded (capitals, wide forms, look-alikes of the dot) is refused and not repaired, so
 * that every server on the way means the same domain. */
#include "smtp/smtp.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <idn2.h>
#include <stdlib.h>

/* libidn2 looks up labels with hyphens at their ends as well. */
static bool has_bare_hyphen(struct str domain)
{
    struct str rest = domain, label;
    while (str_cut(&rest, '.', &label))
        if (str_starts(label, STR("-")) || str_ends(label, STR("-")))
            return true;
    return false;
}

enum rc smtp_domain_ascii(struct str domain, struct buf *out)
{
    if (utf8_is_ascii(domain))
        return smtp_is_domain(domain) || smtp_is_literal(domain) ? buf_add(out, domain) : RC_SYNTAX;
    if (domain.n > SMTP_DOMAIN_MAX || str_find_byte(domain, '\0') >= 0 || !utf8_is_valid(domain) ||
        has_bare_hyphen(domain))
        return RC_SYNTAX;
    char *text = mem_alloc(domain.n + 1);
    for (size_t i = 0; i < domain.n; i++)
        text[i] = ascii_lower(domain.p[i]);
    text[domain.n] = '\0';
    uint8_t *ascii = NULL;
    int error = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NO_TR46);
    enum rc rc = error == IDN2_MALLOC ? RC_TEMP : RC_SYNTAX;
    if (error == IDN2_OK && smtp_is_domain(str_of((char *)ascii)))
        rc = buf_add(out, str_of((char *)ascii));
    idn2_free(ascii);
    free(text);
    return rc;
}
