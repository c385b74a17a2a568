/* The scheduler in the world of test_world.h. */
#include "relay/test_world.h"

static void a_message_goes_and_its_connection_is_kept_and_closed(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 5), RC_OK);
    assert_rc(add(&w, 1, 0, 5), RC_EXISTS);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[5].taken, 1);
    assert_int_equal(w.hosts[5].open, 1);
    assert_rc(add(&w, 2, 0, 5), RC_OK);
    run_until(&w, w.now + SEC(3));
    assert_int_equal(w.hosts[5].taken, 2);
    assert_int_equal(w.hosts[5].opened, 1);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.hosts[5].open, 0);
    assert_true(schedule_is_quiet(&w.s));
    assert_int_equal(w.s.entries.count, 0);
    world_end(&w);
}

static uint64_t time_of_live(bool with_dead, enum temper temper)
{
    struct world w;
    unsigned item = 0;
    world_begin(&w, 5000);
    w.hosts[0].temper = temper;
    for (unsigned i = 0; with_dead && i < 100000; i++)
        assert_rc(add(&w, item++, 0, 0), RC_OK);
    for (unsigned i = 0; i < 10000; i++)
        assert_rc(add(&w, item++, 0, 1 + i % 100), RC_OK);
    uint64_t begun = w.now;
    w.live_left = 10000;
    run_until(&w, w.now + SEC(120));
    assert_int_equal(w.sent, 10000);
    assert_int_equal(w.put_off, with_dead ? 100000 : 0);
    assert_true(w.hosts[0].opened <= 8); /* nobody insists */
    uint64_t took = w.live_done - begun;
    if (getenv("PENFOLD_FIGURES"))
        printf("%d %d: %.3f s\n", with_dead, temper, (double)took / 1e9);
    world_end(&w);
    return took;
}

static void a_hundred_thousand_for_a_dead_host_delay_nobody(void **state)
{
    uint64_t alone = time_of_live(false, LIVE);
    assert_true(time_of_live(true, REFUSING) <= alone * 105 / 100);
    assert_true(time_of_live(true, SILENT) <= alone * 105 / 100);
}

static uint64_t time_of_many(bool with_dead, enum temper temper)
{
    struct world w;
    world_begin(&w, 1000);
    for (unsigned i = 0; i < 10000; i += 10)
        w.hosts[i].temper = temper;
    size_t live = 0;
    for (unsigned i = 0; i < 100000; i++)
        if (i % 10 || with_dead) {
            assert_rc(add(&w, i, 0, i % 10000), RC_OK);
            live += i % 10 != 0;
        }
    uint64_t begun = w.now;
    w.live_left = live;
    run_until(&w, w.now + SEC(250));
    assert_int_equal(w.sent, live);
    assert_int_equal(w.put_off, with_dead ? 10000 : 0);
    uint64_t took = w.live_done - begun;
    world_end(&w);
    return took;
}

static void a_thousand_dead_of_ten_thousand_delay_nobody(void **state)
{
    uint64_t alone = time_of_many(false, LIVE), refusing = time_of_many(true, REFUSING),
             silent = time_of_many(true, SILENT);
    if (getenv("PENFOLD_FIGURES"))
        printf("alone %.3f s, refusing %.3f, silent %.3f\n", (double)alone / 1e9,
               (double)refusing / 1e9, (double)silent / 1e9);
    assert_true(refusing <= alone * 120 / 100);
    assert_true(silent <= alone + SEC(5)); /* the places of those that are slow are given away */
}

/* Its connections end after some messages, and it gets new ones although as many hosts as may be
 * are silent. */
static void a_host_that_answers_goes_on_beside_silent_ones(void **state)
{
    struct world w;
    world_begin(&w, 100);
    for (unsigned i = 1; i <= 150; i++)
        w.hosts[i].temper = SILENT;
    for (unsigned i = 0; i < 150; i++)
        assert_rc(add(&w, i, 0, i), RC_OK);
    for (unsigned i = 150; i < 50000; i++)
        assert_rc(add(&w, i, 0, 0), RC_OK);
    w.live_left = 50000 - 149;
    uint64_t begun = w.now;
    run_until(&w, w.now + SEC(250));
    assert_int_equal(w.sent, 50000 - 149);
    assert_true(w.live_done - begun < SEC(25)); /* before the first silent one is given up */
    world_end(&w);
}

static void what_was_put_off_goes_when_the_host_is_back(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.retries = 1;
    w.hosts[3].temper = REFUSING;
    for (unsigned i = 0; i < 1000; i++)
        assert_rc(add(&w, i, 0, 3), RC_OK);
    run_until(&w, w.now + SEC(7200));
    unsigned tries = w.hosts[3].opened;
    assert_int_equal(w.sent, 0);
    assert_in_range(tries, 4, 60); /* asked now and then, not once for each message */
    assert_true(w.put_off >= 4000);
    w.hosts[3].temper = LIVE;
    run_until(&w, w.now + SEC(3600));
    assert_int_equal(w.sent, 1000);
    assert_int_equal(w.s.entries.count, 0);
    world_end(&w);
}

static void the_next_host_takes_over(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.mx_per_domain = 2;
    w.hosts[10].temper = SILENT;
    for (unsigned i = 0; i < 50; i++)
        assert_rc(add(&w, i, 0, 10), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.hosts[11].taken, 50);
    assert_int_equal(w.put_off, 0);
    w.hosts[11].temper = REFUSING;
    assert_rc(add(&w, 100, 0, 10), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.put_off, 1);
    assert_int_equal(w.hosts[10].opened, 1); /* still left alone */
    world_end(&w);
}

static void a_busy_better_host_is_waited_for(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.mx_per_domain = 2;
    for (unsigned i = 0; i < 500; i++)
        assert_rc(add(&w, i, 0, 10), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.hosts[10].taken, 500);
    assert_int_equal(w.hosts[11].opened, 0); /* [RFC5321 5.1] */
    world_end(&w);
}

static void a_host_that_serves_nobody_is_believed(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].temper = UNWELCOMING;
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    w.mx_per_domain = 2; /* another may think otherwise */
    w.hosts[1].temper = REFUSING;
    w.hosts[2].temper = UNWELCOMING;
    schedule_renew(&w.s);
    assert_rc(add(&w, 2, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.put_off, 1);
    world_end(&w);
}

/* A message with REQUIRETLS looks at each host, and comes back when none is good enough; others are
 * not held up by it [RFC8689 4.2.1]. */
static void who_requires_tls_has_hosts_of_his_own(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.mx_per_domain = 2;
    w.hosts[1].temper = w.hosts[2].temper = UNSAFE;
    assert_rc(add_with(&w, 1, 0, 1, QUEUE_TLS_REQUIRED), RC_OK);
    assert_rc(add(&w, 2, 0, 1), RC_OK);
    assert_rc(add_with(&w, 3, 0, 1, QUEUE_TLS_IF_POSSIBLE), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.s.destinations.count, 3);
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.hosts[1].taken, 2);
    assert_true(w.hosts[2].opened == 1 && w.hosts[2].taken == 0);
    w.hosts[2].temper = LIVE;
    schedule_renew(&w.s);
    assert_rc(add_with(&w, 4, 0, 1, QUEUE_TLS_REQUIRED), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.hosts[2].taken, 1);
    assert_int_equal(w.failed, 1);
    w.hosts[2].temper = REFUSING; /* it may be good enough when it is back */
    schedule_renew(&w.s);
    assert_rc(add_with(&w, 5, 0, 1, QUEUE_TLS_REQUIRED), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.put_off, 1);
    world_end(&w);
}

static void dns_says_never_or_later(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.dns = RC_PERM;
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    w.dns = RC_TEMP;
    for (unsigned i = 2; i < 200; i++)
        assert_rc(add(&w, i, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.put_off, 198);
    w.dns = RC_OK;
    run_until(&w, w.now + SEC(400));
    assert_rc(add(&w, 300, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.sent, 1);
    world_end(&w);
}

static void the_window_follows_the_host(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].answers = MS(100);
    for (unsigned i = 0; i < 2000; i++)
        assert_rc(add(&w, i, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.sent, 2000);
    assert_int_equal(w.hosts[1].peak, 20);
    assert_true(w.hosts[1].opened >= 20); /* a hundred messages each at most */
    w.hosts[2].most = 5;
    w.hosts[2].answers = MS(100);
    for (unsigned i = 0; i < 1000; i++)
        assert_rc(add(&w, 5000 + i, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(200));
    assert_int_equal(w.sent, 3000);
    assert_int_equal(w.put_off, 0);
    world_end(&w);
}

static void turns_are_fair(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.one_host = 7;
    for (unsigned i = 0; i < 10000; i++)
        assert_rc(add(&w, i, 0, 1), RC_OK);
    for (unsigned i = 0; i < 10; i++)
        assert_rc(add(&w, 20000 + i, 0, 2), RC_OK);
    size_t before = 0;
    for (schedule_run(&w.s, w.now); w.n_events;) {
        happen(&w, pop(&w));
        struct destination *small = destination_get(&w.s, STR("d2.test"), QUEUE_TLS_AS_USUAL);
        if (small->sent == 10 && !before)
            before = w.sent;
    }
    assert_int_equal(w.sent, 10010);
    assert_in_range(before, 10, 200);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

static void recipients_of_one_message_go_together(void **state)
{
    struct world w;
    world_begin(&w, 100);
    for (uint16_t n = 0; n < 250; n++)
        assert_rc(add(&w, 1, n, 4), RC_OK);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 250);
    assert_int_equal(w.hosts[4].transactions, 3);
    assert_int_equal(w.max_batch, 100);
    w.one_host = 7; /* other domains, the same host */
    assert_rc(add(&w, 2, 0, 20), RC_OK);
    assert_rc(add(&w, 3, 0, 21), RC_OK);
    assert_rc(add(&w, 4, 0, 22), RC_OK);
    run_until(&w, w.now + SEC(60));
    w.hosts[7].transactions = 0;
    assert_rc(add(&w, 5, 0, 20), RC_OK);
    assert_rc(add(&w, 5, 1, 21), RC_OK);
    assert_rc(add(&w, 5, 4, 22), RC_OK);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.hosts[7].transactions, 1);
    assert_int_equal(w.hosts[7].taken, 6);
    world_end(&w);
}

static void a_connection_that_was_closed_meanwhile_costs_nothing(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(1));
    w.hosts[1].is_stale = true;
    assert_rc(add(&w, 2, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[1].taken, 2);
    assert_int_equal(w.hosts[1].opened, 2);
    assert_int_equal(w.put_off, 0);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

static void memory_is_bounded(void **state)
{
    struct world w;
    world_begin(&w, 10);
    w.s.limits.entries = 100;
    w.s.limits.destinations = 50;
    for (unsigned i = 0; i < 100; i++)
        assert_rc(add(&w, i, 0, i), RC_OK);
    assert_rc(add(&w, 100, 0, 100), RC_LIMIT);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 100);
    assert_int_equal(w.s.destinations.count, 50);
    assert_int_equal(w.s.peers.count, 50);
    assert_rc(add(&w, 100, 0, 100), RC_OK);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 101);
    world_end(&w);
}

/* A backlog that would fill the memory, of a host that is slow and not dead: the others have the
 * other half, and all of it goes through bit by bit. */
static void a_backlog_leaves_room_for_others(void **state)
{
    enum { BACKLOG = 20000, OTHERS = 400 };
    struct world w;
    unsigned next = 0, others = 0;
    size_t most = 0;
    world_begin(&w, 100);
    w.s.limits.entries = 1000;
    w.hosts[1].answers = SEC(1);
    for (unsigned round = 0; next < BACKLOG || w.s.entries.count; round++) {
        while (next < BACKLOG && add(&w, next, 0, 1) == RC_OK)
            next++;
        if (others < OTHERS) {
            assert_rc(add(&w, BACKLOG + others, 0, 10 + others), RC_OK); /* never kept out */
            others++;
        }
        most = w.s.entries.count > most ? w.s.entries.count : most;
        if (round == OTHERS + 1) /* within moments of being added */
            assert_int_equal(w.sent - w.hosts[1].taken, OTHERS);
        run_until(&w, w.now + SEC(1));
        assert_true(round < 3 * BACKLOG);
    }
    assert_int_equal(w.hosts[1].taken, BACKLOG);
    assert_in_range(most, 500, 1000);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

/* Hosts take messages faster than the disk takes what became of them. */
static void a_slow_disk_slows_what_is_sent(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.s.limits.under_way = 200;
    w.settling = SEC(10);
    for (unsigned i = 0; i < 2000; i++)
        assert_rc(add(&w, i, 0, i % 50), RC_OK);
    run_until(&w, w.now + SEC(9));
    assert_int_equal(w.sent, 200);
    run_until(&w, w.now + SEC(200));
    assert_int_equal(w.sent, 2000);
    assert_int_equal(w.settled, 2000);
    world_end(&w);
}

/* Nearly as many connections as may be wait for an answer: what they were to send is not under
 * way. */
static void what_waits_for_silent_hosts_holds_up_nobody(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.s.limits.under_way = 120;
    for (unsigned i = 0; i < 99; i++) {
        w.hosts[i].temper = SILENT;
        assert_rc(add(&w, i, 0, i), RC_OK);
    }
    run_until(&w, w.now + SEC(3));
    for (unsigned i = 100; i < 1100; i++) {
        w.hosts[i].answers = SEC(1);
        assert_rc(add(&w, i, 0, i), RC_OK);
    }
    run_until(&w, w.now + SEC(20)); /* a hundred a second, and not twenty */
    assert_int_equal(w.sent, 1000);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

/* Destinations that wait for the one connection of a host, most of which go along with another's
 * message: whoever is left is not forgotten when that connection ends. */
static void who_waits_for_a_host_is_not_forgotten(void **state)
{
    for (unsigned n = 1; n <= 24; n++) {
        struct world w;
        world_begin(&w, 100);
        w.one_host = 1;
        w.s.limits.per_host = w.s.limits.per_connection = 1;
        w.settling = SEC(10);
        for (unsigned i = 0; i < n; i++)
            assert_rc(add(&w, 1, (uint16_t)i, i), RC_OK);
        assert_rc(add(&w, 2, 0, 100), RC_OK);
        run_until(&w, w.now + SEC(60));
        assert_int_equal(w.sent, n + 1);
        world_end(&w);
    }
}

static void an_idle_connection_makes_room(void **state)
{
    struct world w;
    world_begin(&w, 4);
    for (unsigned i = 0; i < 200; i++)
        assert_rc(add(&w, i, 0, i % 100), RC_OK);
    uint64_t begun = w.now;
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 200);
    assert_true(w.hosts[99].opened >= 1);
    assert_true(begun < w.now);
    world_end(&w);
}

static void draining_ends_what_is_begun(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].answers = MS(100);
    for (unsigned i = 0; i < 1000; i++)
        assert_rc(add(&w, i, 0, 1), RC_OK);
    run_until(&w, w.now + MS(500));
    schedule_drain(&w.s);
    size_t before = w.sent;
    run_until(&w, w.now + SEC(10));
    assert_true(schedule_is_quiet(&w.s));
    assert_in_range(w.sent, before, before + 20);
    assert_int_equal(w.hosts[1].open, 0);
    assert_true(w.s.entries.count > 0); /* the queue has them */
    world_end(&w);
}

static void what_is_gone_from_the_queue_is_dropped(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    schedule_run(&w.s, w.now);
    happen(&w, pop(&w)); /* the answer: a link is being made */
    struct link *l = CONTAINER(list_first(&w.s.fresh), struct link, age);
    schedule_dropped(&w.s, l->batch, w.now);
    assert_int_equal(w.s.entries.count, 0);
    w.n_events = 0;
    schedule_gone(&w.s, l);
    assert_true(schedule_is_quiet(&w.s));
    world_end(&w);
}

/* The queue tells of the next try before it is heard that this one is over. */
static void what_is_told_meanwhile_is_looked_at_again(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    while (!w.sent)
        run_until(&w, w.now + MS(1));
    assert_rc(add(&w, 1, 0, 1), RC_EXISTS);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.sent, 2);
    assert_int_equal(w.s.entries.count, 0);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

/* Somebody wants it to go now: the host that is left alone is tried at once, and only for the
 * destination that was meant. */
static void what_is_pressing_wakes_its_destination(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].temper = w.hosts[2].temper = REFUSING;
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    assert_rc(add(&w, 2, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.put_off, 2);
    w.hosts[1].temper = w.hosts[2].temper = LIVE;
    assert_rc(add(&w, 3, 0, 2), RC_OK);
    assert_rc(add_pressing(&w, 1, "d1.test"), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[1].taken, 1);
    assert_int_equal(w.hosts[2].taken, 0);
    assert_int_equal(w.put_off, 3);
    w.dns = RC_TEMP; /* the same where DNS has had no answer */
    assert_rc(add(&w, 9, 0, 5), RC_OK);
    run_until(&w, w.now + SEC(1));
    w.dns = RC_OK;
    assert_rc(add_pressing(&w, 9, "d5.test"), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[5].taken, 1);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_goes_and_its_connection_is_kept_and_closed),
        cmocka_unit_test(a_hundred_thousand_for_a_dead_host_delay_nobody),
        cmocka_unit_test(a_thousand_dead_of_ten_thousand_delay_nobody),
        cmocka_unit_test(a_host_that_answers_goes_on_beside_silent_ones),
        cmocka_unit_test(what_was_put_off_goes_when_the_host_is_back),
        cmocka_unit_test(the_next_host_takes_over),
        cmocka_unit_test(a_busy_better_host_is_waited_for),
        cmocka_unit_test(a_host_that_serves_nobody_is_believed),
        cmocka_unit_test(who_requires_tls_has_hosts_of_his_own),
        cmocka_unit_test(dns_says_never_or_later),
        cmocka_unit_test(the_window_follows_the_host),
        cmocka_unit_test(turns_are_fair),
        cmocka_unit_test(recipients_of_one_message_go_together),
        cmocka_unit_test(a_connection_that_was_closed_meanwhile_costs_nothing),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_backlog_leaves_room_for_others),
        cmocka_unit_test(a_slow_disk_slows_what_is_sent),
        cmocka_unit_test(what_waits_for_silent_hosts_holds_up_nobody),
        cmocka_unit_test(who_waits_for_a_host_is_not_forgotten),
        cmocka_unit_test(an_idle_connection_makes_room),
        cmocka_unit_test(draining_ends_what_is_begun),
        cmocka_unit_test(what_is_told_meanwhile_is_looked_at_again),
        cmocka_unit_test(what_is_gone_from_the_queue_is_dropped),
        cmocka_unit_test(what_is_pressing_wakes_its_destination),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
