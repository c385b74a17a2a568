/* Fuzz target: the values of RET, ENVID, NOTIFY, ORCPT, HOLDFOR and HOLDUNTIL. Aborts when one that
 * was taken could break a report: xtext that decodes to something that is not printable, a value
 * over its limit, one that is not UTF-8. */
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "smtp/smtp.h"

static void demand_printable(struct str xtext)
{
    struct buf text;
    buf_init(&text, xtext.n + 1);
    FUZZ_DEMAND(smtp_xtext_decode(xtext, &text) == RC_OK);
    struct str t = buf_str(&text);
    FUZZ_DEMAND(t.n <= xtext.n);
    for (size_t i = 0; i < t.n; i++)
        FUZZ_DEMAND(ascii_is_print(t.p[i]) || t.p[i] == '\t');
    buf_fini(&text);
}

static void demand_safe(struct str value)
{
    FUZZ_DEMAND(utf8_is_valid(value));
    for (size_t i = 0; i < value.n; i++)
        FUZZ_DEMAND((unsigned char)value.p[i] > ' ' && value.p[i] != 0x7f && value.p[i] != '=');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str value = str_from(data, size);
    struct buf small;
    unsigned notify;
    enum smtp_ret ret;
    uint64_t seconds;
    if (smtp_envid_check(value) == RC_OK) {
        FUZZ_DEMAND(size <= SMTP_ENVID_MAX);
        demand_printable(value);
    }
    if (smtp_orcpt_check(value, true) == RC_OK) {
        FUZZ_DEMAND(size <= SMTP_ORCPT_MAX);
        demand_safe(value);
    }
    if (smtp_orcpt_check(value, false) == RC_OK)
        FUZZ_DEMAND(utf8_is_ascii(value) && smtp_orcpt_check(value, true) == RC_OK);
    if (smtp_notify_parse(value, &notify) == RC_OK)
        FUZZ_DEMAND(notify == SMTP_NOTIFY_NEVER || (notify > 0 && notify % 2 == 0 && notify < 16));
    if (smtp_holdfor_parse(value, &seconds) == RC_OK)
        FUZZ_DEMAND(seconds > 0 && seconds < 1000000000);
    if (smtp_holduntil_parse(value, &seconds) == RC_OK)
        FUZZ_DEMAND(seconds <= UINT64_C(253402300801)); /* the last second of 9999, and one more */
    if (smtp_ret_parse(value, &ret) == RC_OK)
        FUZZ_DEMAND(size == 4);
    buf_init(&small, 8); /* a cap is kept, whatever comes */
    if (smtp_xtext_decode(value, &small) == RC_OK)
        FUZZ_DEMAND(buf_len(&small) <= 8);
    buf_fini(&small);
    return 0;
}
