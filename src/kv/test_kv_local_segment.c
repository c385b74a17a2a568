/* The segment log alone: groups kept and forgotten, segments that end, are pinned and removed. */
#include "kv/kv_local_segment.h"

#include "base/test.h"
#include "kv/kv_local_file.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIMIT = 4096, SIZE = 1000 };

struct fixture {
    char top[64];
    int dir;
    struct ctx ctx;
    struct segment_log log;
    unsigned char records[8][2048];
    int n;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->top, sizeof f->top, "%.40s/penfold-seg-XXXXXX", tmp ? tmp : "/tmp");
    f->ctx.clock = &clock_system;
    *state = f;
    if (!mkdtemp(f->top) || local_dir_open(AT_FDCWD, f->top, false, &f->dir) != RC_OK)
        return -1;
    return local_segments_init(&f->log, &f->ctx, f->dir, false, LIMIT) == RC_OK ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    local_segments_fini(&f->log);
    close(f->dir);
    nftw(f->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Appends one record whose body is full of this byte. */
static struct segment *append(struct fixture *f, char fill, uint64_t commit, uint64_t *out_at)
{
    unsigned char *record = f->records[f->n++ % 8];
    struct record head = {.id = {{(unsigned char)fill}}, .commit = commit, .size = SIZE};
    struct segment *s = NULL;
    memset(record, 0, sizeof f->records[0]);
    kv_record_frame(record, &head);
    memset(record + RECORD_FRAME, fill, SIZE);
    kv_record_sums(record + RECORD_FRAME + SIZE, str_from(record + RECORD_FRAME, SIZE));
    struct iovec iov = {record, (size_t)kv_record_bytes(SIZE)};
    assert_rc(local_segments_append(&f->log, iov, &s, out_at), RC_OK);
    return s;
}

static void end_group(struct fixture *f, bool is_kept)
{
    assert_rc(local_segments_write(&f->log), RC_OK);
    assert_rc(local_segments_sync(&f->log), RC_OK);
    local_segments_end_group(&f->log, is_kept);
}

static char byte_at(struct segment *s, uint64_t at)
{
    char c = 0;
    assert_rc(local_file_read(s->fd, &c, 1, at + RECORD_FRAME, false), RC_OK);
    return c;
}

static void a_forgotten_group_is_overwritten(void **state)
{
    struct fixture *f = *state;
    uint64_t a, b, c;
    struct segment *s = append(f, 'a', 1, &a);
    end_group(f, true);
    assert_ptr_equal(append(f, 'b', 2, &b), s);
    end_group(f, false);
    assert_true(s->now.end == kv_record_bytes(SIZE) && s->now.live == s->now.end);
    assert_ptr_equal(append(f, 'c', 2, &c), s);
    end_group(f, true);
    assert_true(a == 0 && b == c && c == kv_record_bytes(SIZE));
    assert_true(byte_at(s, a) == 'a' && byte_at(s, c) == 'c');
}

static void a_segment_ends_where_a_record_does_not_fit(void **state)
{
    struct fixture *f = *state;
    uint64_t at;
    struct segment *first = append(f, '1', 1, &at), *last = first;
    for (char c = '2'; c <= '5'; c++)
        last = append(f, c, 1, &at);
    end_group(f, true);
    assert_true(first->number == 1 && last->number == 2);
    assert_true(first->now.end <= LIMIT && first->now.end + kv_record_bytes(SIZE) > LIMIT);
    assert_int_equal(byte_at(last, at), '5');
}

static void a_removed_segment_is_read_while_pinned(void **state)
{
    struct fixture *f = *state;
    uint64_t at;
    struct segment *pinned, *again;
    uint32_t number = append(f, 'x', 1, &at)->number;
    while (append(f, 'y', 1, &at)->number == number)
        ;
    end_group(f, true);
    assert_rc(local_segment_pin(&f->log, number, &pinned), RC_OK);
    assert_false(local_segments_remove(&f->log, number)); /* it is live */
    local_segments_live(&f->log, number, -(int64_t)pinned->now.live);
    assert_false(local_segments_remove(&f->log, number)); /* not yet published */
    assert_true(local_segments_end_group(&f->log, true)); /* worth cleaning */
    local_segment_hold(&f->log, number, 1);
    assert_false(local_segments_remove(&f->log, number)); /* somebody holds a record */
    local_segment_hold(&f->log, number, -1);
    assert_true(local_segments_remove(&f->log, number));
    assert_rc(local_segment_pin(&f->log, number, &again), RC_NOTFOUND);
    assert_int_equal(byte_at(pinned, 0), 'x');
    local_segment_unpin(&f->log, &pinned);
}

static void the_current_segment_is_never_removed(void **state)
{
    struct fixture *f = *state;
    uint64_t at;
    struct segment *s = append(f, 'x', 1, &at);
    end_group(f, true);
    local_segments_live(&f->log, s->number, -(int64_t)s->now.live);
    assert_false(local_segments_end_group(&f->log, true));
    assert_false(local_segments_remove(&f->log, s->number));
}

/* What was dropped while the segment was still current is noticed when it is no longer. */
static void a_dead_segment_is_worth_cleaning_when_it_ends(void **state)
{
    struct fixture *f = *state;
    uint64_t at;
    struct segment *s = append(f, 'a', 1, &at);
    while (s->head.end + (uint64_t)kv_record_bytes(SIZE) <= LIMIT)
        append(f, 'b', 1, &at);
    end_group(f, true);
    local_segments_live(&f->log, s->number, -(int64_t)s->now.live);
    assert_false(local_segments_end_group(&f->log, true)); /* it is the current one */
    assert_ptr_not_equal(append(f, 'c', 2, &at), s);
    assert_rc(local_segments_write(&f->log), RC_OK);
    assert_rc(local_segments_sync(&f->log), RC_OK);
    assert_true(local_segments_end_group(&f->log, true));
    assert_true(s->allocated == s->now.end); /* nor does it keep space that it took ahead */
    assert_true(local_segments_remove(&f->log, s->number));
}

static void records_are_found_again(void **state)
{
    struct fixture *f = *state;
    uint64_t at, bytes = kv_record_bytes(SIZE);
    struct record record;
    append(f, 'a', 7, &at);
    struct segment *s = append(f, 'b', 8, &at);
    end_group(f, true);
    assert_rc(local_segment_next(s->fd, 0, s->now.end, false, &record, &at), RC_OK);
    assert_true(at == 0 && record.commit == 7);
    assert_rc(local_segment_next(s->fd, 8, s->now.end, false, &record, &at), RC_EOF);
    assert_rc(local_segment_next(s->fd, 8, s->now.end, true, &record, &at), RC_OK);
    assert_true(at == bytes && record.commit == 8);
    assert_rc(local_segment_next(s->fd, bytes, s->now.end - 8, true, &record, &at), RC_EOF);
}

static void names_are_numbers(void **state)
{
    char name[SEGMENT_NAME];
    uint32_t number;
    local_segment_name(name, 0x2a);
    assert_string_equal(name, "0000002a");
    assert_true(local_segment_parse_name(name, &number) && number == 0x2a);
    assert_false(local_segment_parse_name("2a", &number));
    assert_false(local_segment_parse_name("00000000", &number));
    assert_false(local_segment_parse_name("0000002A", &number));
    assert_false(local_segment_parse_name("..", &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_forgotten_group_is_overwritten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_ends_where_a_record_does_not_fit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_removed_segment_is_read_while_pinned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_current_segment_is_never_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dead_segment_is_worth_cleaning_when_it_ends, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(records_are_found_again, set_up, tear_down),
        cmocka_unit_test(names_are_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
