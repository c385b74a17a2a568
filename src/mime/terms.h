/* Words of text, for a search by words [RFC6203 3]: folded text, as mime/text.h makes it, is split
 * at what is no letter, mark or digit. Scripts that are written without spaces (Han, kana, Thai and
 * the like) have a word in each character.
 *
 * Pure. Every piece of text is looked at once; what is held is part of one word. */
#ifndef MIME_TERMS_H
#define MIME_TERMS_H

#include "base/str.h"

enum {
    MIME_TERMS = 32,   /* words looked for together; of a longer string the first ones */
    MIME_TERM_MAX = 60 /* bytes of a word that count */
};

/* The words of folded text, views into it; how many there are, `most` of them at most. */
size_t mime_terms_split(struct str folded, struct str *out, size_t most);

/* Whether each of some words is the beginning of a word of a text, which comes in pieces cut
 * anywhere. ASCII may be in any case of letters. */
struct mime_terms {
    const struct str *terms; /* the caller's, from mime_terms_split */
    size_t n;
    uint32_t seen, whole; /* a bit a term: found; found as a whole word */
    uint32_t times;       /* words that begin as one of the terms does */
    uint32_t in_a_row;    /* terms found one after the other, just now */
    bool is_phrase;       /* all of them, in order */
    bool firsts[256];     /* bytes that terms begin with */
    size_t word_n;        /* of the word that has begun; beyond MIME_TERM_MAX it is not held */
    char word[MIME_TERM_MAX];
    size_t tail_n; /* of a character that has begun */
    char tail[4];
};
void mime_terms_begin(struct mime_terms *m, const struct str *terms, size_t n);
void mime_terms_again(struct mime_terms *m); /* for another text */
/* Whether all have been found, in words that have ended. */
bool mime_terms_feed(struct mime_terms *m, struct str piece);
bool mime_terms_end(struct mime_terms *m); /* the text ends here */
/* How well the text meets all of them, from 1 to 100 [RFC6203 4]: whole words more than beginnings,
 * a phrase more than words here and there, often more than once. */
unsigned mime_terms_score(const struct mime_terms *m);

#endif
