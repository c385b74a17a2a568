/* Fuzz target: what the process that signs mail is asked. The first byte says how: a request as it
 * comes over the socket, or a key as whoever has taken the server over could seal it. */
#include "crypto/crypto_int.h"
#include "fuzz/fuzz.h"

#include "base/bytes.h"

#include <string.h>

static const unsigned char secret[CRYPTO_SEAL_KEY] = "a secret of thirty-two bytes...";

static void ask(struct str algorithm, struct str request)
{
    struct vault *vault = vault_new(secret);
    unsigned char out[CRYPTO_SIGNATURE_MAX], again[CRYPTO_SIGNATURE_MAX];
    size_t n = sizeof out, m = sizeof again;
    if (vault_sign(vault, algorithm, request, out, &n) == RC_OK) {
        FUZZ_DEMAND(n <= sizeof out);
        /* By the opened key. One that is no key of RSA signs nonsense, each time another. */
        FUZZ_DEMAND(vault_sign(vault, algorithm, request, again, &m) == RC_OK && n == m);
        FUZZ_DEMAND(str_eq(algorithm, STR("rsa-sha256")) || memcmp(out, again, n) == 0);
    }
    vault_free(&vault);
}

static void ask_sealed(struct str algorithm, struct str plain)
{
    unsigned char public_half[CRYPTO_SEAL_KEY], request[CRYPTO_SEALED_MAX + CRYPTO_SHA256 + 2];
    const unsigned char digest[CRYPTO_SHA256] = {1, 2, 3};
    struct packer w;
    struct buf sealed;
    buf_init(&sealed, CRYPTO_SEALED_MAX);
    crypto_seal_public(secret, public_half);
    if (seal(plain, public_half, &sealed) == RC_OK) {
        pack_init(&w, request, sizeof request);
        pack_str16(&w, buf_str(&sealed));
        pack_bytes(&w, str_from(digest, sizeof digest));
        ask(algorithm, pack_done(&w));
    }
    buf_fini(&sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str algorithms[] = {STR_INIT("rsa-sha256"), STR_INIT("ed25519-sha256"),
                                            STR_INIT("another")};
    if (size < 2)
        return 0;
    struct str rest = str_from(data + 2, size - 2), algorithm = algorithms[data[1] % 3];
    if (data[0] % 2)
        ask_sealed(algorithm, rest);
    else
        ask(algorithm, rest);
    return 0;
}
