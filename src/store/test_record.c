/* Records: what is written is read again, and nothing else is believed. */
#include "store/store_int.h"

#include "base/random.h"
#include "base/test.h"

static unsigned char mem[RECORD_VALUE];

static struct store_row some_row(uint32_t uid)
{
    return (struct store_row){.uid = uid,
                              .flags = STORE_SEEN | ROW_SHARED,
                              .keywords = 0x8000000000000001,
                              .email = 5,
                              .modseq = 6,
                              .size = UINT64_C(1) << 40,
                              .received = 7,
                              .saved = 8};
}

static void assert_row(const struct store_row *a, const struct store_row *b)
{
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->keywords, b->keywords);
    assert_int_equal(a->email, b->email);
    assert_int_equal(a->modseq, b->modseq);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->received, b->received);
    assert_int_equal(a->saved, b->saved);
}

static struct email some_email(void)
{
    struct email e;
    memset(&e, 0, sizeof e);
    e.codec = 1;
    e.key_id = 2;
    memset(e.blob.b, 3, sizeof e.blob.b);
    e.size = 4;
    e.received = 5;
    e.created = 6;
    e.thread = 7;
    e.message_id = 8;
    e.n_places = 2;
    e.places[0] = (struct place){9, 10};
    e.places[1] = (struct place){11, 12};
    return e;
}

static void assert_email(const struct email *a, const struct email *b)
{
    assert_int_equal(a->codec, b->codec);
    assert_int_equal(a->key_id, b->key_id);
    assert_memory_equal(a->blob.b, b->blob.b, sizeof a->blob.b);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->received, b->received);
    assert_int_equal(a->created, b->created);
    assert_int_equal(a->thread, b->thread);
    assert_int_equal(a->message_id, b->message_id);
    assert_int_equal(a->n_places, b->n_places);
    assert_memory_equal(a->places, b->places, a->n_places * sizeof a->places[0]);
}

static void hot_and_mailbox(void **state)
{
    struct hot h = {.generation = 1,
                    .next_modseq = 2,
                    .next_email = 3,
                    .next_thread = 4,
                    .next_outbox = 5,
                    .next_mailbox = 6,
                    .bytes = 7,
                    .messages = 8,
                    .quota = {9, 10, STORE_QUOTA_MESSAGES, 77},
                    .floor = 11,
                    .hash_key = {12, 13},
                    .last_uidvalidity = 14},
               got;
    assert_rc(hot_decode(hot_encode(&h, mem, sizeof mem), &got), RC_OK);
    assert_false(got.is_dying);
    assert_int_equal(got.generation, 1);
    assert_int_equal(got.next_modseq, 2);
    assert_int_equal(got.next_email, 3);
    assert_int_equal(got.next_thread, 4);
    assert_int_equal(got.next_outbox, 5);
    assert_int_equal(got.next_mailbox, 6);
    assert_int_equal(got.bytes, 7);
    assert_int_equal(got.messages, 8);
    assert_int_equal(got.quota.bytes, 9);
    assert_int_equal(got.quota.messages, 10);
    assert_int_equal(got.quota.inherited, STORE_QUOTA_MESSAGES);
    assert_int_equal(got.quota.group, 77);
    assert_int_equal(got.last_uidvalidity, 14);
    struct str older = hot_encode(&h, mem, sizeof mem); /* release 0.1.0 wrote nothing behind */
    older = str_head(older, older.n - 13);
    assert_rc(hot_decode(older, &got), RC_OK);
    assert_true(got.quota.bytes == 9 && !got.quota.inherited && !got.quota.group);
    assert_int_equal(got.floor, 11);
    assert_int_equal(got.hash_key[0], 12);
    assert_int_equal(got.hash_key[1], 13);
    struct mailbox_record m = {.generation = 1,
                               .m = {.id = 2,
                                     .parent = 3,
                                     .role = STORE_JUNK,
                                     .name = STR("J\xc3\xbcnk"),
                                     .uidvalidity = 4,
                                     .uidnext = 5,
                                     .highest_modseq = 6,
                                     .exists = 7,
                                     .unseen = 8,
                                     .first_unseen = 10,
                                     .bytes = 9},
                               .packed = 11,
                               .recent = 12,
                               .state = MAILBOX_PLACEHOLDER,
                               .removed_below = 13},
                          back;
    assert_rc(mailbox_decode(2, mailbox_encode(&m, mem, sizeof mem), &back), RC_OK);
    assert_str(back.m.name, "J\xc3\xbcnk");
    assert_int_equal(back.generation, 1);
    assert_int_equal(back.m.id, 2);
    assert_int_equal(back.m.parent, 3);
    assert_int_equal(back.m.role, STORE_JUNK);
    assert_int_equal(back.m.uidvalidity, 4);
    assert_int_equal(back.m.uidnext, 5);
    assert_int_equal(back.m.highest_modseq, 6);
    assert_int_equal(back.m.exists, 7);
    assert_int_equal(back.m.unseen, 8);
    assert_int_equal(back.m.bytes, 9);
    assert_int_equal(back.m.first_unseen, 10);
    assert_int_equal(back.packed, 11);
    assert_int_equal(back.recent, 12);
    assert_int_equal(back.state, MAILBOX_PLACEHOLDER);
    assert_true(back.m.is_placeholder);
    assert_int_equal(back.removed_below, 13);
}

static void rows_own_and_packed(void **state)
{
    struct store_row row = some_row(77), got, rows[RECORD_PACK], all[RECORD_PACK];
    assert_rc(row_decode(77, row_encode(&row, mem, sizeof mem), &got), RC_OK);
    assert_row(&row, &got);
    unsigned char packed[PACKED_MAX];
    for (uint32_t i = 0; i < RECORD_PACK; i++)
        rows[i] = some_row(256 + i);
    struct key key = key_packed(1, 256);
    assert_int_equal(key_packed(1, 383).b[8], key.b[8]);
    assert_int_not_equal(key_packed(1, 384).b[8], key.b[8]);
    for (size_t n = 0; n <= RECORD_PACK; n += 64) {
        size_t got_n;
        struct str value = packed_encode(rows, n, packed, sizeof packed);
        assert_false(str_is_null(value));
        assert_rc(packed_decode(key_str(&key), value, all, &got_n), RC_OK);
        assert_int_equal(got_n, n);
        for (size_t i = 0; i < n; i++)
            assert_row(&rows[i], &all[i]);
    }
}

static struct str old_tombstone(const struct store_row *row, const struct email *e, uint64_t time,
                                void *to, size_t size)
{
    unsigned char part[RECORD_VALUE];
    struct packer w;
    struct str value;
    pack_init(&w, to, size);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, time);
    pack_u8(&w, true);
    pack_u32(&w, 1);
    pack_u32(&w, row->uid);
    value = row_encode(row, part, sizeof part);
    pack_bytes(&w, str_skip(value, 1));
    value = email_encode(e, part, sizeof part);
    pack_bytes(&w, str_skip(value, 1));
    return pack_done(&w);
}

static enum rc read_tombstones(struct str value)
{
    struct tombstones all;
    struct tombstone d;
    enum rc rc = tombstones_open(value, &all);
    while (rc == RC_OK)
        rc = tombstones_next(&all, &d);
    return rc == RC_EOF ? RC_OK : rc;
}

static void emails_and_tombstones(void **state)
{
    struct email e = some_email(), got;
    assert_rc(email_decode(email_encode(&e, mem, sizeof mem), &got), RC_OK);
    assert_email(&e, &got);
    e.n_places = RECORD_COPIES;
    for (uint32_t i = 0; i < RECORD_COPIES; i++)
        e.places[i] = (struct place){i + 1, i + 2};
    struct tombstones all;
    struct tombstone d = {.is_last = true, .row = some_row(3), .record = e}, back;
    struct packer w;
    static unsigned char most[TOMBSTONES_MAX];
    tombstones_begin(&w, most, 1, 2);
    for (uint32_t i = 0; i < RECORD_TOMBSTONES; i++) {
        d.row.uid = i + 1;
        d.is_last = i % 2 == 0;
        tombstones_add(&w, &d);
    }
    assert_rc(tombstones_open(pack_done(&w), &all), RC_OK);
    assert_int_equal(all.time, 1);
    assert_int_equal(all.mailbox, 2);
    assert_int_equal(all.n, RECORD_TOMBSTONES);
    for (uint32_t i = 0; i < RECORD_TOMBSTONES; i++) {
        assert_rc(tombstones_next(&all, &back), RC_OK);
        d.row.uid = i + 1;
        assert_int_equal(back.is_last, i % 2 == 0);
        assert_row(&d.row, &back.row);
        assert_email(&d.record, &back.record);
    }
    assert_rc(tombstones_next(&all, &back), RC_EOF);
}

/* As release 0.1.0 wrote them: one a record. */
static void tombstones_of_the_first_format(void **state)
{
    struct email e = some_email();
    struct store_row row = some_row(3);
    struct tombstones all;
    struct tombstone d;
    struct str value = old_tombstone(&row, &e, 7, mem, sizeof mem);
    assert_rc(tombstones_open(value, &all), RC_OK);
    assert_int_equal(all.time, 7);
    assert_rc(tombstones_next(&all, &d), RC_OK);
    assert_int_equal(all.mailbox, 1);
    assert_true(d.is_last);
    assert_row(&row, &d.row);
    assert_email(&e, &d.record);
    assert_rc(tombstones_next(&all, &d), RC_EOF);
    for (size_t n = 0; n < value.n; n++)
        assert_rc(read_tombstones(str_head(value, n)), RC_CORRUPT);
}

static void message_ids_texts_deliveries(void **state)
{
    struct message_id i = {.codec = 1, .key_id = 2, .thread = 3, .emails = 4}, got;
    assert_rc(message_id_decode(message_id_encode(&i, mem, sizeof mem), &got), RC_OK);
    assert_int_equal(got.codec, 1);
    assert_int_equal(got.key_id, 2);
    assert_int_equal(got.thread, 3);
    assert_int_equal(got.emails, 4);
    struct str text;
    assert_rc(text_decode(text_encode(STR("$Junk"), mem, sizeof mem), &text), RC_OK);
    assert_str(text, "$Junk");
    uint64_t time;
    assert_rc(delivery_decode(delivery_encode(99, mem, sizeof mem), &time), RC_OK);
    assert_int_equal(time, 99);
}

static void outbox(void **state)
{
    struct str to[] = {STR("a@example.test"), STR("b@example.test")};
    struct outbox o = {.kind = OUTBOX_REDIRECT,
                       .codec = 1,
                       .key_id = 2,
                       .time = 3,
                       .account = 4,
                       .mailbox = 5,
                       .from = STR(""),
                       .to = to,
                       .n_to = 2},
                  got;
    memset(o.blob.b, 6, sizeof o.blob.b);
    struct arena arena;
    arena_init(&arena, 0);
    struct str value = outbox_encode(&o, mem, sizeof mem);
    assert_rc(outbox_decode(value, &arena, &got), RC_OK);
    assert_int_equal(got.kind, OUTBOX_REDIRECT);
    assert_int_equal(got.codec, 1);
    assert_int_equal(got.key_id, 2);
    assert_int_equal(got.time, 3);
    assert_int_equal(got.account, 4);
    assert_int_equal(got.mailbox, 5);
    assert_int_equal(got.from.n, 0);
    assert_int_equal(got.n_to, 2);
    assert_str(got.to[1], "b@example.test");
    assert_memory_equal(got.blob.b, o.blob.b, 16);
    for (size_t n = 0; n < value.n; n++)
        assert_rc(outbox_decode(str_head(value, n), &arena, &got), RC_CORRUPT);
    arena_fini(&arena);
}

/* Every record cut short, or of another format, is refused; random bytes crash nothing. */
static void damage_is_found(void **state)
{
    struct hot hot = {.next_modseq = 1, .next_email = 1, .next_thread = 1}, h;
    struct mailbox_record mailbox = {.m = {.id = 1, .uidnext = 1, .uidvalidity = 1}}, m;
    struct store_row row = some_row(1), r[RECORD_PACK];
    struct tombstone tombstone = {.row = row, .record = some_email()}, d;
    struct packer w;
    unsigned char a[512];
    static unsigned char most[TOMBSTONES_MAX];
    struct str value = hot_encode(&hot, a, sizeof a);
    for (size_t n = 0; n < value.n; n++) { /* release 0.1.0 wrote 13 bytes less, later ones 4 */
        bool is_older = n == value.n - 13 || n == value.n - 4;
        assert_rc(hot_decode(str_head(value, n), &h), is_older ? RC_OK : RC_CORRUPT);
    }
    value = mailbox_encode(&mailbox, a, sizeof a);
    for (size_t n = 0; n < value.n; n++) /* release 0.1.0 wrote 5 bytes less */
        assert_rc(mailbox_decode(1, str_head(value, n), &m), n == value.n - 5 ? RC_OK : RC_CORRUPT);
    tombstones_begin(&w, most, 1, 2);
    tombstones_add(&w, &tombstone);
    tombstones_add(&w, &tombstone);
    value = pack_done(&w);
    assert_rc(read_tombstones(value), RC_OK);
    for (size_t n = 0; n < value.n; n++)
        assert_rc(read_tombstones(str_head(value, n)), RC_CORRUPT);
    put_u16(most + 13, 0);
    assert_rc(read_tombstones(value), RC_CORRUPT);
    put_u16(most + 13, RECORD_TOMBSTONES + 1);
    assert_rc(read_tombstones(value), RC_CORRUPT);
    most[0] = 3;
    assert_rc(read_tombstones(value), RC_CORRUPT);
    value = row_encode(&row, a, sizeof a);
    a[0] = RECORD_FORMAT + 1;
    assert_rc(row_decode(1, value, r), RC_CORRUPT);
    struct key key = key_packed(1, 1);
    unsigned refused = 0;
    for (int i = 0; i < 2000; i++) {
        size_t got;
        random_bytes(a, sizeof a);
        a[0] = RECORD_FORMAT;
        value = str_from(a, 1 + a[1]);
        refused += packed_decode(key_str(&key), value, r, &got) == RC_CORRUPT;
        refused += email_decode(value, &d.record) == RC_CORRUPT;
        refused += read_tombstones(value) == RC_CORRUPT;
        a[0] = 2;
        refused += read_tombstones(value) == RC_CORRUPT;
        a[0] = RECORD_FORMAT;
        refused += mailbox_decode(1, value, &m) == RC_CORRUPT;
    }
    assert_true(refused > 6000);
}

static void keys_sort_by_number(void **state)
{
    struct key a = key_row(1, 255), b = key_row(1, 256), c = key_row(2, 1);
    assert_true(str_cmp(key_str(&a), key_str(&b)) < 0);
    assert_true(str_cmp(key_str(&b), key_str(&c)) < 0);
    struct key last = key_of('u', UINT32_MAX, NULL, 0), after = key_after(key_str(&last), last.n);
    assert_str(key_str(&after), "v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hot_and_mailbox),
        cmocka_unit_test(rows_own_and_packed),
        cmocka_unit_test(emails_and_tombstones),
        cmocka_unit_test(tombstones_of_the_first_format),
        cmocka_unit_test(message_ids_texts_deliveries),
        cmocka_unit_test(outbox),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(keys_sort_by_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
