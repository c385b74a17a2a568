/* The file that keys are sealed for: the secret that only the signer process reads.
 *
 * One line of text, "penfold-seal 1 BASE64". It is made by `init`, for older hosts by `dkim setup`
 * or by the supervisor at its start, and never replaced: without it the keys in the store are lost.
 */
#include "ctl/ctl_int.h"

#include "base/base64.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIRST "penfold-seal 1 "
enum { TEXT_MAX = 256 };

static enum rc complain(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
}

static enum rc read_text(struct str text, unsigned char secret[CRYPTO_SEAL_KEY])
{
    struct buf bytes;
    text = str_trim(text);
    if (!str_starts(text, STR(FIRST)))
        return RC_SYNTAX;
    buf_init(&bytes, TEXT_MAX);
    enum rc rc = base64_decode(&bytes, str_skip(text, sizeof FIRST - 1));
    if (rc == RC_OK && buf_len(&bytes) != CRYPTO_SEAL_KEY)
        rc = RC_SYNTAX;
    if (rc == RC_OK)
        memcpy(secret, buf_str(&bytes).p, CRYPTO_SEAL_KEY);
    buf_wipe(&bytes);
    return rc;
}

enum rc ctl_seal_read(const char *path, unsigned char secret[CRYPTO_SEAL_KEY])
{
    char text[TEXT_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rc_from_errno(errno);
    ssize_t n = read(fd, text, sizeof text);
    int error = errno;
    close(fd);
    if (n < 0)
        return rc_from_errno(error);
    enum rc rc = read_text(str_from(text, (size_t)n), secret);
    crypto_wipe(text, sizeof text);
    return rc;
}

static enum rc write_file(const char *path, struct str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? RC_EXISTS : rc_from_errno(errno);
    bool is_good = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    int error = errno;
    close(fd);
    if (is_good)
        return RC_OK;
    unlink(path);
    errno = error;
    return rc_from_errno(error ? error : EIO);
}

/* The name is durable when its folder is. */
static enum rc sync_folder_of(const char *path)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_good = fd >= 0 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return is_good ? RC_OK : rc_from_errno(error);
}

enum rc ctl_seal_make(const char *path, unsigned char public_half[CRYPTO_SEAL_KEY])
{
    unsigned char secret[CRYPTO_SEAL_KEY];
    struct buf text;
    TRY(crypto_seal_pair(public_half, secret));
    buf_init(&text, TEXT_MAX);
    buf_put(&text, STR(FIRST));
    enum rc rc = base64_encode(&text, str_from(secret, sizeof secret));
    buf_put(&text, STR("\n"));
    if (rc == RC_OK)
        rc = write_file(path, buf_str(&text));
    if (rc == RC_OK)
        rc = sync_folder_of(path);
    buf_wipe(&text);
    crypto_wipe(secret, sizeof secret);
    return rc;
}

void ctl_seal_text(const unsigned char public_half[CRYPTO_SEAL_KEY],
                   char out[2 * CRYPTO_SEAL_KEY + 1])
{
    for (size_t i = 0; i < CRYPTO_SEAL_KEY; i++)
        snprintf(out + 2 * i, 3, "%02x", public_half[i]);
}

/* --- dkim setup ------------------------------------------------------------------------------- */

/* The file's public half; the file is made when there is none. */
static enum rc take_file(const char *path, unsigned char public_half[CRYPTO_SEAL_KEY])
{
    unsigned char secret[CRYPTO_SEAL_KEY];
    enum rc rc = ctl_seal_read(path, secret);
    if (rc == RC_OK)
        crypto_seal_public(secret, public_half);
    crypto_wipe(secret, sizeof secret);
    if (rc == RC_NOTFOUND)
        rc = ctl_seal_make(path, public_half);
    if (rc == RC_SYNTAX)
        return complain(path, "not a file of this kind; see penfold dkim setup --help");
    return rc == RC_OK ? rc : complain(path, strerror(errno));
}

int ctl_dkim_setup(const struct conf *conf, const struct str *words, size_t n)
{
    unsigned char public_half[CRYPTO_SEAL_KEY];
    char hex[2 * CRYPTO_SEAL_KEY + 1];
    struct admin_answer answer = {0};
    bool is_new = n == 3 && str_eq(words[2], STR("--new"));
    if (n != 2 && !is_new) {
        fprintf(stderr, "penfold: usage: penfold dkim setup [--new]\n");
        return CTL_USAGE;
    }
    if (take_file(conf->dkim.key, public_half) != RC_OK)
        return CTL_FAILED;
    ctl_seal_text(public_half, hex);
    const struct str request_words[] = {STR("dkim-seal"), str_of(hex), STR("--new")};
    const struct admin_request request = {.words = request_words, .n_words = is_new ? 3 : 2};
    int status = CTL_FAILED;
    if (ctl_carry_out(conf, &request, &answer) == RC_OK) {
        status = answer.rc == RC_OK ? CTL_DONE : CTL_FAILED;
        if (status == CTL_DONE)
            printf("%s is what keys are sealed for. Start the server again to use it.\n",
                   conf->dkim.key);
        else
            fprintf(stderr, "penfold: %.*s\n", STR_ARG(answer.error));
    }
    admin_answer_fini(&answer);
    return status;
}
