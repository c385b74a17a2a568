/* Fuzz target: a whole mbox file. Aborts when reading it does not end, gives a message that no
 * "From " line has begun, or gives more bytes than the file can make. */
#include "fuzz/fuzz.h"
#include "transfer/files_int.h"
#include "transfer/mbox_int.h"

#include <sys/mman.h>
#include <unistd.h>

struct checks {
    struct transfer_sink sink;
    size_t messages, bytes;
    bool is_open;
};

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    *out_n = 0;
    return RC_OK;
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct checks *c = (struct checks *)sink;
    FUZZ_DEMAND(!c->is_open && m->origin.n == TRANSFER_ORIGIN);
    c->is_open = true;
    c->messages++;
    return RC_OK;
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    struct checks *c = (struct checks *)sink;
    FUZZ_DEMAND(c->is_open);
    c->bytes += piece.n;
    return RC_OK;
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    struct checks *c = (struct checks *)sink;
    FUZZ_DEMAND(c->is_open);
    c->is_open = false;
    return RC_OK;
}

static const struct transfer_sink_calls calls = {
    .folder = folder, .begin = begin, .bytes = bytes, .end = end};

static size_t count_starts(struct str text)
{
    struct str line, sender;
    uint64_t time;
    size_t n = 0;
    while (str_cut(&text, '\n', &line))
        n += mbox_from_line(line, &sender, &time);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checks c = {.sink = {.calls = &calls}};
    char path[64];
    int fd = memfd_create("mbox", MFD_CLOEXEC);
    FUZZ_DEMAND(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct transfer_mbox mbox = {.path = path};
    enum rc rc = transfer_from_mbox(&mbox, &c.sink);
    FUZZ_DEMAND(rc == RC_OK || rc == RC_NOTFOUND);
    FUZZ_DEMAND(!c.is_open && c.messages <= count_starts(str_from(data, size)));
    FUZZ_DEMAND(c.bytes <= 2 * size);
    close(fd);
    return 0;
}
