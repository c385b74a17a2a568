/* What every unit test includes: cmocka with its own includes, and asserts on views. Not part of
 * any library. */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define assert_str(view, literal)                                                                  \
    do {                                                                                           \
        struct str view_ = (view);                                                                 \
        assert_int_equal(view_.n, sizeof(literal) - 1);                                            \
        assert_memory_equal(view_.p, "" literal, sizeof(literal) - 1);                             \
    } while (0)

#define assert_rc(expression, expected) assert_string_equal(rc_name(expression), rc_name(expected))

#endif
