/* Fuzz target: DKIM key records. Aborts when a record that was read is not one, or when what is
 * written of it is read as something else. */
#include "fuzz/fuzz.h"
#include "mailauth/mailauth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mailauth_record r, again;
    struct buf text;
    if (mailauth_record_read(str_from(data, size), &r) == RC_OK) {
        struct str key = buf_str(&r.public_key);
        FUZZ_DEMAND(size <= MAILAUTH_RECORD_MAX);
        FUZZ_DEMAND(r.algorithm != CRYPTO_ED25519 || key.n == 32 || key.n == 0);
        buf_init(&text, 2 * MAILAUTH_RECORD_MAX);
        FUZZ_DEMAND(mailauth_record_write(r.algorithm, key, &text) == RC_OK);
        if (buf_len(&text) <= MAILAUTH_RECORD_MAX) {
            FUZZ_DEMAND(mailauth_record_read(buf_str(&text), &again) == RC_OK);
            FUZZ_DEMAND(again.algorithm == r.algorithm && str_eq(buf_str(&again.public_key), key));
            mailauth_record_fini(&again);
        }
        buf_fini(&text);
    }
    mailauth_record_fini(&r);
    return 0;
}
