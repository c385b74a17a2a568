/* Responses of the server: gathered with their literals, and checked.
 *
 * Checked are tag and OK of every answer, that each message asked for has exactly one FETCH with
 * the items asked for, that a literal is as long as RFC822.SIZE says, that parentheses are
 * balanced, that message numbers exist, the hits of a search, and that SORT and THREAD name each
 * message once. */
#include "imapload.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void session_error(struct session *s, const char *what, const char *line, size_t n)
{
    struct load *l = s->load;
    if (++l->errors <= 5 || l->is_verbose)
        fprintf(stderr, "error: connection %d, %s: %s: %.*s\n", s->id, verbs[s->op].name, what,
                (int)(n > 200 ? 200 : n), line);
}

static bool has(const char *p, size_t n, const char *word)
{
    return memmem(p, n, word, strlen(word)) != NULL;
}

static long number_after(const char *p, size_t n, const char *word)
{
    const char *at = memmem(p, n, word, strlen(word));
    return at ? strtol(at + strlen(word), NULL, 10) : -1;
}

/* Parentheses outside of quoted strings. */
static bool is_balanced(const char *p, size_t n)
{
    int depth = 0;
    bool is_quoted = false;
    for (size_t i = 0; i < n && depth >= 0; i++) {
        if (p[i] == '"')
            is_quoted = !is_quoted;
        else if (is_quoted)
            i += p[i] == '\\';
        else
            depth += (p[i] == '(') - (p[i] == ')');
    }
    return depth == 0 && !is_quoted;
}

/* False: another session's change of flags, which may come at any time. */
static bool check_body(struct session *s, uint32_t message, const char *p, size_t n)
{
    size_t before = s->n_literals ? s->literal_at : n;
    if (!has(p, before, "BODY[]")) {
        if (!has(p, n, "FLAGS"))
            session_error(s, "FETCH without BODY[]", p, n);
        return false;
    }
    if (s->n_literals != 1) {
        session_error(s, "BODY[] is not one literal", p, n);
        return true;
    }
    const char *after = p + s->literal_at + s->literal_length;
    size_t n_after = n - s->literal_at - s->literal_length;
    long size = number_after(p, before, "RFC822.SIZE ");
    if (size < 0)
        size = number_after(after, n_after, "RFC822.SIZE ");
    if (size != (long)s->literal_length)
        session_error(s, "RFC822.SIZE and literal differ", p, before);
    if (number_after(p, before, "UID ") <= 0 && number_after(after, n_after, "UID ") <= 0)
        session_error(s, "no UID", p, before);
    if (n_after < 3 || memcmp(after + n_after - 3, ")\r\n", 3) != 0)
        session_error(s, "FETCH does not end after the literal", after, n_after);
    s->load->body_bytes += s->literal_length;
    return true;
}

static bool check_texts(struct session *s, uint32_t message, const char *p, size_t n)
{
    if (!has(p, n, "ENVELOPE (")) {
        if (!has(p, n, "FLAGS"))
            session_error(s, "FETCH without ENVELOPE", p, n);
        return false;
    }
    if (!has(p, n, "BODYSTRUCTURE (") || !has(p, n, "FLAGS (") || !has(p, n, "INTERNALDATE \"") ||
        number_after(p, n, "UID ") <= 0 || number_after(p, n, "RFC822.SIZE ") <= 0)
        session_error(s, "FETCH lacks an item", p, n);
    else if (!s->n_literals && !is_balanced(p, n))
        session_error(s, "unbalanced parentheses", p, n);
    s->load->rows++;
    return true;
}

static bool check_flags(struct session *s, uint32_t message, const char *p, size_t n)
{
    if (!has(p, n, "FLAGS"))
        session_error(s, "FETCH without FLAGS", p, n);
    if (s->op == OP_LEARN && has(p, n, s->load->flag))
        flag_set(s, message);
    return true;
}

static void fetched(struct session *s, uint32_t message, const char *p, size_t n)
{
    static bool (*const check[])(struct session *, uint32_t, const char *, size_t) = {
        [ROWS_TEXTS] = check_texts, [ROWS_BODIES] = check_body, [ROWS_FLAGS] = check_flags};
    enum rows rows = verbs[s->op].rows;
    if (message < 1 || message > s->exists)
        session_error(s, "FETCH for a message that does not exist", p, n < 60 ? n : 60);
    if (rows != ROWS_NONE && check[rows](s, message, p, n) && message >= s->seen.low &&
        message <= s->seen.high)
        s->seen.fetches++;
}

static void exists(struct session *s, uint32_t count)
{
    bool is_more = count > s->exists;
    s->exists = count;
    s->seen.has_exists = true;
    if (is_more && s->phase == PHASE_HELD)
        session_told(s);
}

static void searched(struct session *s, const char *p, size_t n)
{
    s->seen.searches++;
    for (size_t i = 8; i + 1 < n; i++)
        s->seen.found += p[i] == ' ' && p[i + 1] >= '0' && p[i + 1] <= '9';
}

/* Numbers, between which may be parentheses. */
static void ordered(struct session *s, const char *p, size_t n)
{
    s->seen.searches++;
    if (!s->ordered)
        return;
    if (!is_balanced(p, n))
        session_error(s, "unbalanced parentheses", p, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t number = 0;
        if (p[i] < '0' || p[i] > '9')
            continue;
        for (; p[i] >= '0' && p[i] <= '9'; i++)
            number = number * 10 + (uint32_t)(p[i] - '0');
        if (number >= MESSAGES_MAX || s->ordered[number / 8] >> number % 8 & 1)
            session_error(s, "named twice, or of no message", p, n);
        else
            s->ordered[number / 8] |= (unsigned char)(1u << number % 8);
        s->seen.found++;
    }
}

/* SELECT's, from which a later one is to go on. */
static void known(struct session *s, const char *p, size_t n)
{
    long uidvalidity = number_after(p, n, "[UIDVALIDITY ");
    long modseq = number_after(p, n, "[HIGHESTMODSEQ ");
    s->seen.has_uidvalidity = s->seen.has_uidvalidity || uidvalidity > 0;
    if (s->op == OP_SELECT && uidvalidity > 0)
        s->uidvalidity = (uint32_t)uidvalidity;
    if (s->op == OP_SELECT && modseq > 0)
        s->modseq = (uint64_t)modseq;
}

static void numbered(struct session *s, const char *p, size_t n)
{
    char *word;
    uint32_t number = (uint32_t)strtoul(p + 2, &word, 10);
    if (!strncasecmp(word, " FETCH ", 7))
        fetched(s, number, p, n);
    else if (!strncasecmp(word, " EXISTS", 7))
        exists(s, number);
    else if (!strncasecmp(word, " EXPUNGE", 8)) {
        if (number < 1 || number > s->exists)
            session_error(s, "EXPUNGE out of range", p, n);
        else
            s->exists--;
    }
}

static void untagged(struct session *s, const char *p, size_t n)
{
    if (p[2] >= '0' && p[2] <= '9')
        numbered(s, p, n);
    else if (!strncasecmp(p, "* SEARCH", 8))
        searched(s, p, n);
    else if (!strncasecmp(p, "* ESEARCH", 9))
        s->seen.searches++;
    else if (!strncasecmp(p, "* SORT", 6) || !strncasecmp(p, "* THREAD", 8))
        ordered(s, p, n);
    else if (!strncasecmp(p, "* OK [", 6))
        known(s, p, n > 60 ? 60 : n);
    else if (!strncasecmp(p, "* BYE", 5) && s->op != OP_LOGOUT)
        session_error(s, "unexpected BYE", p, n);
    else if (!strncasecmp(p, "* BAD", 5))
        session_error(s, "untagged BAD", p, n);
}

static void check_count(struct session *s, const char *p, size_t n)
{
    struct load *l = s->load;
    bool is_change = s->op == OP_STORE || s->op == OP_DELETE;
    if (s->seen.fetches == s->seen.wanted || (s->op == OP_STORE && l->is_silent))
        return;
    if (has(p, n, "EXPUNGEISSUED"))
        l->races++;
    else if (is_change && !s->seen.fetches)
        l->no_change++; /* the message had the flag */
    else {
        char text[80];
        snprintf(text, sizeof text, "%u FETCH responses for %u messages", s->seen.fetches,
                 s->seen.wanted);
        session_error(s, text, p, n);
    }
}

static void check_search(struct session *s, const char *p, size_t n)
{
    struct load *l = s->load;
    if (s->seen.searches != 1)
        session_error(s, "not one SEARCH response", p, n);
    if (l->expect >= 0 && s->seen.found != (uint32_t)l->expect) {
        char text[80];
        snprintf(text, sizeof text, "%u found, expected %d", s->seen.found, l->expect);
        session_error(s, text, p, n);
    }
    l->found += s->seen.found;
}

static void check_order(struct session *s, const char *p, size_t n)
{
    struct load *l = s->load;
    uint32_t wanted = l->expect >= 0 ? (uint32_t)l->expect : s->exists;
    if (s->seen.searches != 1 || s->seen.found != wanted)
        session_error(s, "not one response, with as many messages as expected", p, n);
    l->found += s->seen.found;
}

static int tagged(struct session *s, const char *p, size_t n)
{
    size_t tag = (size_t)s->tag_length;
    if (n < tag + 2 || memcmp(p, s->tag_text, tag) != 0) {
        session_error(s, "wrong tag", p, n);
        return -1;
    }
    bool is_ok = !strncasecmp(p + tag, "OK", 2);
    if (!is_ok && has(p, n, "EXPUNGEISSUED"))
        s->load->races++;
    else if (!is_ok)
        session_error(s, "not OK", p, n);
    else if (verbs[s->op].rows != ROWS_NONE)
        check_count(s, p, n);
    else if (s->op == OP_SORT || s->op == OP_THREAD)
        check_order(s, p, n);
    else if (s->op == OP_SEARCH || s->op == OP_SEARCH_TEXT)
        check_search(s, p, n);
    else if (s->op == OP_SELECT && (!s->seen.has_exists || !s->seen.has_uidvalidity))
        session_error(s, "SELECT without EXISTS or UIDVALIDITY", p, n);
    else if (s->op == OP_IDLE && !s->seen.has_continuation)
        session_error(s, "IDLE without a continuation", p, n);
    return session_answered(s, is_ok);
}

/* The length that "...{123}\r\n" announces; -1: the line ends without a literal. */
static long literal_of(const char *line, size_t end)
{
    size_t length = 0, scale = 1, i = end - 4;
    if (end < 5 || line[end - 3] != '}' || line[end - 2] != '\r')
        return -1;
    for (; i > 0 && line[i] >= '0' && line[i] <= '9'; i--, scale *= 10)
        length += (size_t)(line[i] - '0') * scale;
    return line[i] == '{' && scale > 1 ? (long)length : -1;
}

/* Length of the complete response (lines and literals) at the start of what came, or 0. */
static size_t response_length(struct session *s)
{
    const struct buf *in = &s->conn.in;
    const char *p = in->p + in->off;
    size_t available = in->len - in->off;
    while (s->scanned < available) {
        const char *newline = memchr(p + s->scanned, '\n', available - s->scanned);
        if (!newline)
            return 0;
        size_t end = (size_t)(newline - p) + 1;
        long literal = literal_of(p, end);
        if (literal < 0)
            return end;
        if (!s->n_literals++) {
            s->literal_at = end;
            s->literal_length = (size_t)literal;
        }
        s->scanned = end + (size_t)literal;
    }
    return 0;
}

int session_read(struct session *s)
{
    size_t n;
    int over = 0;
    while (!over && (n = response_length(s))) {
        const char *p = s->conn.in.p + s->conn.in.off;
        if (s->phase == PHASE_GREETING) {
            if (strncasecmp(p, "* OK", 4) != 0) {
                session_error(s, "greeting", p, n);
                return -1;
            }
            over = session_greeted(s);
        } else if (p[0] == '+')
            session_continue(s);
        else if (p[0] == '*' && n > 4)
            untagged(s, p, n);
        else
            over = tagged(s, p, n);
        s->conn.in.off += n;
        s->scanned = 0;
        s->n_literals = 0;
    }
    return over;
}
