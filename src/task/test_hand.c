#include "task/hand.h"

#include "base/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct hand_key key_of(const struct hand *hand, const char *text)
{
    return hand_key(hand, str_of(text), STR("Subject: x\r\n"));
}

/* A worker that has `given` in hand no more and `held` still when the signal ends it. */
static void work_and_die(struct hand *hand, const char *given, const char *held, int sign)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(sign, SIG_DFL);
        hand_give(hand, hand_take(hand, key_of(hand, given)));
        if (hand_take(hand, key_of(hand, held)) == 0)
            _exit(1);
        raise(sign);
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void what_was_in_hand_at_two_crashes_is_a_suspect(void **state)
{
    struct hand *hand = hand_new();
    assert_non_null(hand);
    work_and_die(hand, "good", "bad", SIGSEGV);
    assert_int_equal(hand_settle(hand, true), 0);
    assert_false(hand_is_suspect(hand, key_of(hand, "bad")));
    work_and_die(hand, "good", "other", SIGABRT);
    assert_int_equal(hand_settle(hand, true), 0);
    work_and_die(hand, "good", "bad", SIGSEGV);
    assert_int_equal(hand_settle(hand, true), 1);
    assert_true(hand_is_suspect(hand, key_of(hand, "bad")));
    assert_false(hand_is_suspect(hand, key_of(hand, "good")));
    assert_false(hand_is_suspect(hand, key_of(hand, "other")));
    hand_forget(hand, key_of(hand, "bad"));
    assert_false(hand_is_suspect(hand, key_of(hand, "bad")));
    hand_free(&hand);
}

/* Killed from outside, whatever it had in hand is not to blame. */
static void a_kill_is_no_crash(void **state)
{
    struct hand *hand = hand_new();
    for (int i = 0; i < 3; i++) {
        work_and_die(hand, "good", "bad", SIGKILL);
        assert_int_equal(hand_settle(hand, false), 0);
    }
    assert_false(hand_is_suspect(hand, key_of(hand, "bad")));
    hand_free(&hand);
}

static void places_and_counts_are_bounded(void **state)
{
    struct hand *hand = hand_new();
    char text[16];
    unsigned last = 1;
    work_and_die(hand, "good", "bad", SIGSEGV);
    hand_settle(hand, true);
    work_and_die(hand, "good", "bad", SIGSEGV);
    assert_int_equal(hand_settle(hand, true), 1);
    for (int round = 0; round < 3; round++) {
        int taken = 0;
        for (int i = 0; i < 400; i++) {
            snprintf(text, sizeof text, "%d.%d", round, i);
            last = hand_take(hand, key_of(hand, text));
            taken += last != 0;
        }
        assert_int_equal(taken, 256);
        assert_int_equal(last, 0);
        assert_int_equal(hand_settle(hand, true), 0);
    }
    assert_true(hand_is_suspect(hand, key_of(hand, "bad"))); /* the innocent do not push it out */
    hand_free(&hand);
}

static void nothing_is_noted_without_a_map(void **state)
{
    struct hand_key key = hand_key(NULL, STR("a"), STR("b"));
    hand_give(NULL, hand_take(NULL, key));
    hand_forget(NULL, key);
    assert_int_equal(hand_settle(NULL, true), 0);
    assert_false(hand_is_suspect(NULL, key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_in_hand_at_two_crashes_is_a_suspect),
        cmocka_unit_test(a_kill_is_no_crash),
        cmocka_unit_test(places_and_counts_are_bounded),
        cmocka_unit_test(nothing_is_noted_without_a_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
