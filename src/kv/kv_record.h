/* How a blob looks where it is stored: a frame of 64 bytes, the body, and a sum for each 64 KB of
 * it. Numbers are big-endian.
 *
 *   in a segment:     frame | body | sums | zeroes up to a multiple of 8
 *   in its own file:  body | sums | frame
 *   in RADOS:         frame | body | sums; src/rados/blob_form.h for large ones
 *
 *   frame   0  4 magic "PfB1"       24  8 partition id          56  4 zero
 *           4  1 format (1)         32  8 commit number (0 in   60  4 crc32c of bytes 0-59
 *           5  1 codec                    a file of its own)
 *           6  1 partition class    40  8 size of the body
 *           7  1 zero               48  4 key id
 *           8 16 blob id            52  4 zero
 *
 * sums[i] is the crc32c of body bytes [i * 65536, (i + 1) * 65536). */
#ifndef KV_KV_RECORD_H
#define KV_KV_RECORD_H

#include "kv/kv.h"

enum { RECORD_FRAME = 64, RECORD_CHUNK = 64 << 10, RECORD_ALIGN = 8, RECORD_FORMAT = 1 };

struct record {
    struct kv_blob_id id;
    struct kv_part part; /* that received it: where `rescue` would put it */
    uint64_t commit;
    uint64_t size;
    uint8_t codec;
    uint32_t key_id;
};

uint64_t kv_record_chunks(uint64_t size); /* sums that a body of this size has */
uint64_t kv_record_bytes(uint64_t size);  /* of the whole record in a segment */

void kv_record_frame(unsigned char *to, const struct record *record);
/* RC_CORRUPT when these bytes are no frame. */
enum rc kv_record_parse(const unsigned char *from, struct record *out);

/* The sums of a body held in memory, written to `to` as they are stored. */
void kv_record_sums(unsigned char *to, struct str body);
/* Whether those of a record as in a segment, all of it in memory, hold. */
bool kv_record_holds(const unsigned char *record, uint64_t size);

enum { BLOB_ID_TEXT = 33 };
void kv_blob_id_text(char *to, const struct kv_blob_id *id); /* 32 hex digits and a NUL */
bool kv_blob_id_parse(const char *text, struct kv_blob_id *out);

#endif
