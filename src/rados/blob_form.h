/* How blobs, their tags, references and intents look on the cluster: pure functions over bytes.
 * Numbers in names are hexadecimal, numbers in values big-endian; a value begins with its format.
 *
 *   b/<id>        main object of a blob: frame | body | sums, or, over KV_BLOB_SMALL bytes,
 *                 frame | format, chunk bytes4 | sums (kv/kv_record.h has frame and sums)
 *     attribute t<class><partition>.<token>   tag: this partition's row of references says so
 *     attribute g                             1, token8: of the last change of the tags
 *   b/<id>.<n>    chunk n of the body of a large one
 *   i/<process>   intents of a process, rows of omap:
 *     !o                                      1, process8: who works on them
 *     !n                                      1, number8: grows as long as that one lives
 *     <id>.<token>                            1: look after this tag of this blob
 *   processes     rows of omap: <process>     1: there may be an object of intents
 *
 * A row of references, kept in a partition under the blob's id: 1, count4, token8. */
#ifndef RADOS_BLOB_FORM_H
#define RADOS_BLOB_FORM_H

#include "kv/kv_record.h"

enum {
    /* Most bytes of a chunk, and of a piece of it that is written at once. */
    FORM_CHUNK = 4 << 20,
    FORM_PIECE = KV_BLOB_SMALL,
    FORM_MAIN_MAX = 64 << 20, /* of a main object: sums of a terabyte; Ceph takes 90 MB at once */
    FORM_LARGE = 5, /* bytes between the frame and the sums of a large blob's main object */

    FORM_OBJECT = 48, /* longest name of an object, with its NUL */
    FORM_TAG = 36,    /* of a tag's attribute */
    FORM_INTENT = 50, /* of an intent's row */
    FORM_REFS = 13,
    FORM_NUMBER = 9
};

#define FORM_PROCESSES "processes"
#define FORM_CHANGE    "g"
#define FORM_OWNER     STR("!o")
#define FORM_BEAT      STR("!n")
#define FORM_HERE      STR("\1") /* the value of rows and attributes that say all by being there */

/* --- names ------------------------------------------------------------------------------------ */

void form_main_name(char *to, struct kv_blob_id id);
void form_chunk_name(char *to, struct kv_blob_id id, uint64_t n);
void form_intents_name(char *to, uint64_t process);
/* What a name in the body pool is; *out_chunk is UINT64_MAX for a main object. */
bool form_body_parse(struct str name, struct kv_blob_id *out_id, uint64_t *out_chunk);
void form_process_key(char *to, uint64_t process); /* 16 digits and a NUL */
bool form_process_parse(struct str key, uint64_t *out);

struct form_tag {
    struct kv_part part;
    uint64_t token;
};
void form_tag_name(char *to, struct form_tag tag);
bool form_tag_parse(struct str name, struct form_tag *out);

struct form_intent {
    struct kv_blob_id id;
    uint64_t token;
};
void form_intent_key(char *to, struct form_intent intent);
bool form_intent_parse(struct str key, struct form_intent *out);

/* --- values ----------------------------------------------------------------------------------- */

/* A number behind the format: owner, beat, token of the last change. */
void form_number(unsigned char *to, uint64_t number);
enum rc form_number_parse(struct str value, uint64_t *out);

struct form_refs {
    uint32_t count;
    uint64_t token; /* of the tag that stands for them */
};
void form_refs(unsigned char *to, struct form_refs refs);
enum rc form_refs_parse(struct str value, struct form_refs *out); /* RC_CORRUPT */

/* --- the main object -------------------------------------------------------------------------- */

/* Pieces and chunks are multiples of what the pool wants writes to be aligned to. */
uint32_t form_piece_bytes(uint64_t alignment);
uint32_t form_chunk_bytes(uint64_t alignment);

/* Where a main object's sums begin, and all of its bytes. */
uint64_t form_sums_at(uint64_t size);
uint64_t form_main_bytes(uint64_t size);
uint64_t form_chunks(uint64_t size, uint32_t chunk_bytes); /* objects beside the main one */

/* Frame and, of a large blob, what follows it. `to`: RECORD_FRAME + FORM_LARGE bytes. */
void form_head(unsigned char *to, const struct record *record, uint32_t chunk_bytes);
/* RC_CORRUPT unless these are the first bytes of the main object of that blob; *out_chunk_bytes is
 * 0 for a small one. */
enum rc form_head_parse(struct str bytes, struct kv_blob_id id, struct record *out,
                        uint32_t *out_chunk_bytes);

/* Whether `bytes`, a whole number of the record's chunks from the first one of `sums` on or up to
 * the end of the body, have these sums. */
bool form_sums_hold(struct str bytes, const unsigned char *sums);

#endif
