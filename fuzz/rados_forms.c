/* Fuzz target: what a Ceph cluster gives back, name by name and value by value. Aborts when
 * something is taken that is longer than what is made of it, or that would be written in another
 * way. */
#include "fuzz/fuzz.h"
#include "rados/blob_form.h"
#include "rados/rados_int.h"

#include <string.h>

static void names(struct str text)
{
    char made[RAD_OBJECT + FORM_INTENT];
    struct kv_part part;
    struct kv_blob_id id;
    struct form_tag tag;
    struct form_intent intent;
    uint64_t number;
    (void)rad_name_head_parse(text, &part);
    (void)rad_name_shard_parse(text, &part, &number);
    if (form_tag_parse(text, &tag)) {
        form_tag_name(made, tag);
        FUZZ_DEMAND(str_eq(text, str_of(made)));
    }
    if (form_intent_parse(text, &intent)) {
        form_intent_key(made, intent);
        FUZZ_DEMAND(str_eq(text, str_of(made)));
    }
    if (form_process_parse(text, &number)) {
        form_process_key(made, number);
        FUZZ_DEMAND(str_eq(text, str_of(made)));
    }
    if (form_body_parse(text, &id, &number)) {
        if (number == UINT64_MAX)
            form_main_name(made, id);
        else
            form_chunk_name(made, id, number);
        FUZZ_DEMAND(str_eq(text, str_of(made)));
    }
}

static void keys(struct str text)
{
    struct rad_key key, again;
    uint64_t number;
    (void)rad_key_number(text, &number);
    if (rad_key_row_parse(text, &key) != RC_OK)
        return;
    FUZZ_DEMAND(key.n <= KV_KEY_MAX + 1);
    rad_key_row(&again, rad_key_str(&key));
    FUZZ_DEMAND(str_eq(text, rad_key_str(&again)));
}

static void states(struct str value)
{
    struct rad_state state;
    struct rad_shard shard;
    struct str from, to;
    uint64_t epoch;
    unsigned char made[RAD_STATE];
    if (rad_state_parse(value, &state) == RC_OK)
        FUZZ_DEMAND(str_eq(str_sub(value, 0, RAD_STATE), rad_state_pack(made, &state)));
    if (rad_trim_parse(value, &from, &to) == RC_OK)
        FUZZ_DEMAND(from.n <= KV_KEY_MAX + 1 && to.n <= KV_KEY_MAX + 1);
    if (rad_shard_parse(value, &shard) == RC_OK)
        FUZZ_DEMAND(shard.first.n <= KV_KEY_MAX + 1);
    if (value.n && rad_fence_parse(value, &epoch) == RC_OK)
        FUZZ_DEMAND(str_eq(value, rad_fence_pack(made, epoch)));
}

static void blobs(struct str value)
{
    static const struct kv_blob_id id = {"0123456789abcde"};
    struct form_refs refs;
    struct record head;
    uint64_t number;
    uint32_t chunk;
    (void)form_number_parse(value, &number);
    (void)form_refs_parse(value, &refs);
    if (form_head_parse(value, id, &head, &chunk) != RC_OK)
        return;
    FUZZ_DEMAND(chunk > 0 || head.size <= KV_BLOB_SMALL);
    FUZZ_DEMAND(form_main_bytes(head.size) <= FORM_MAIN_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size);
    names(text);
    keys(text);
    states(text);
    blobs(text);
    return 0;
}
