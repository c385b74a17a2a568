/* All that the server says to people, by number: the response code that programs read, and the text
 * in each language [RFC6856 3]. A '#' in a text stands for a number. Texts never hold what a client
 * has sent, and fit into a line of 512 octets with any numbers [RFC2449 4].
 *
 * A language is one more column here and one more row in `languages`; the first one is spoken until
 * a client asks for another. Until LANG has been used only ASCII is sent, so the first is ASCII. */
#include "pop3/pop3_int.h"

/* Tags as in [RFC5646]; a description is in the language itself. */
static const struct pop3_language languages[] = {
    {STR_INIT("en"), STR_INIT("English"), 0},
    {STR_INIT("de"), STR_INIT("Deutsch"), 1},
    {STR_INIT("i-default"), STR_INIT("English"), 0}, /* [RFC2277 4.5] */
};

struct text {
    struct str code; /* with its brackets; absent: none */
    struct str line[POP3_COLUMNS];
};
#define SAY(en, de)                                                                                \
    {                                                                                              \
        .line = { STR_INIT(en), STR_INIT(de) }                                                     \
    }
#define TELL(name, en, de)                                                                         \
    {                                                                                              \
        .code = STR_INIT("[" name "] "), .line = { STR_INIT(en), STR_INIT(de) }                    \
    }

static const struct text texts[POP3_TEXTS] = {
    /* +OK */
    [POP3_READY] = SAY("Penfold POP3 ready", "Penfold POP3 bereit"),
    [POP3_CAPABILITIES] = SAY("capabilities follow", "Fähigkeiten folgen"),
    [POP3_MECHANISMS] = SAY("mechanisms follow", "Verfahren folgen"),
    [POP3_LANGUAGES] = SAY("languages follow", "Sprachen folgen"),
    [POP3_SEND_PASS] = SAY("send PASS", "bitte PASS senden"),
    [POP3_BEGIN_TLS] = SAY("begin TLS", "TLS beginnen"),
    [POP3_UTF8_ON] = SAY("UTF-8 it is", "UTF-8 gilt"),
    [POP3_SUMMARY] = SAY("# messages (# octets)", "# Nachrichten (# Oktette)"),
    [POP3_COUNT] = SAY("# messages", "# Nachrichten"),
    [POP3_NUMBERS] = SAY("# #", "# #"),
    [POP3_OCTETS] = SAY("# octets", "# Oktette"),
    [POP3_TOP_FOLLOWS] = SAY("top of message follows", "Anfang der Nachricht folgt"),
    [POP3_MARKED] = SAY("marked, goes at QUIT", "vorgemerkt, geht bei QUIT"),
    [POP3_NOTHING_DONE] = SAY("nothing done", "nichts getan"),
    [POP3_GOODBYE] = SAY("goodbye", "auf Wiedersehen"),
    [POP3_GOODBYE_LEFT] = SAY("goodbye, # messages left", "auf Wiedersehen, # Nachrichten bleiben"),
    [POP3_LANGUAGE_SET] = SAY("this is English", "ab jetzt auf Deutsch"),
    /* -ERR: what was wrong with a command */
    [POP3_NO_COMMAND] = SAY("there is no such command", "diesen Befehl gibt es nicht"),
    [POP3_LOGIN_FIRST] = SAY("log in first", "bitte zuerst anmelden"),
    [POP3_LOGGED_IN] = SAY("you are logged in already", "Sie sind schon angemeldet"),
    [POP3_USE_STLS] = TELL("AUTH", "passwords only in TLS: use STLS first",
                           "Passwörter nur in TLS: bitte zuerst STLS"),
    [POP3_TLS_ONLY] = TELL("AUTH", "passwords only in TLS", "Passwörter nur in TLS"),
    [POP3_ARGUMENT_MISSING] = SAY("an argument is missing", "ein Argument fehlt"),
    [POP3_TOO_MANY_ARGUMENTS] = SAY("too many arguments", "zu viele Argumente"),
    [POP3_BARE] = SAY("a line ends in CR LF and has no NUL or CR within",
                      "eine Zeile endet mit CR LF und hat kein NUL oder CR darin"),
    [POP3_TOO_LONG] = SAY("the line is too long", "die Zeile ist zu lang"),
    [POP3_TOO_MANY_ERRORS] = SAY("too many errors, goodbye", "zu viele Fehler, auf Wiedersehen"),
    [POP3_NAME_TOO_LONG] = SAY("the name is too long", "der Name ist zu lang"),
    [POP3_NOT_UTF8] = SAY("names and passwords are UTF-8", "Namen und Passwörter sind UTF-8"),
    [POP3_USER_FIRST] = SAY("send USER first", "bitte zuerst USER senden"),
    [POP3_TLS_ACTIVE] = SAY("TLS is active already", "TLS ist schon aktiv"),
    [POP3_NO_TLS] = SAY("TLS is not available here", "TLS gibt es hier nicht"),
    [POP3_NO_TLS_AFTER_UTF8] = SAY("STLS comes before UTF8", "STLS kommt vor UTF8"),
    [POP3_INJECTION] = SAY("nothing may follow STLS before its answer",
                           "auf STLS darf vor der Antwort nichts folgen"),
    [POP3_NO_MECHANISM] = SAY("there is no such mechanism", "dieses Verfahren gibt es nicht"),
    [POP3_NOT_BASE64] = SAY("the response is not base 64", "die Antwort ist nicht Base 64"),
    [POP3_NOT_A_RESPONSE] = SAY("the response is not one of this mechanism",
                                "die Antwort gehört nicht zu diesem Verfahren"),
    [POP3_CANCELLED] = SAY("cancelled", "abgebrochen"),
    [POP3_OTHER_IDENTITY] = TELL("AUTH", "only your own mailbox", "nur das eigene Postfach"),
    [POP3_NO_LANGUAGE] =
        SAY("this language is not spoken here", "diese Sprache spricht hier niemand"),
    [POP3_LINES_NOT_A_NUMBER] =
        SAY("the number of lines is not a number", "die Zahl der Zeilen ist keine Zahl"),
    /* -ERR: what a result means */
    [POP3_NOT_A_NUMBER] =
        SAY("the argument is not a message number", "das Argument ist keine Nachrichtennummer"),
    [POP3_NO_MESSAGE] = SAY("there is no such message", "diese Nachricht gibt es nicht"),
    [POP3_IN_USE] = TELL("IN-USE", "another POP3 session has this mailbox open",
                         "eine andere POP3-Sitzung hat dieses Postfach offen"),
    [POP3_TOO_MANY_SESSIONS] = /* [RFC3206 4] */
    TELL("SYS/TEMP", "the account has too many connections, close one of them",
         "das Konto hat zu viele Verbindungen, bitte eine davon schließen"),
    [POP3_TOO_SOON] = TELL("LOGIN-DELAY", "too soon after the last login, try again later",
                           "zu früh nach der letzten Anmeldung, bitte später"),
    [POP3_DENIED] = TELL("AUTH", "name or password is wrong", "Name oder Passwort ist falsch"),
    [POP3_BUSY] = TELL("SYS/TEMP", "the server is busy, try again later",
                       "der Server ist beschäftigt, bitte später noch einmal"),
    [POP3_AGAIN] = TELL("SYS/TEMP", "try again later", "bitte später noch einmal"),
    [POP3_NOT_NOW] = TELL("SYS/TEMP", "the server cannot do this now, try again later",
                          "der Server kann das jetzt nicht, bitte später noch einmal"),
    [POP3_FULL] = TELL("SYS/TEMP", "the server has no space left, try again later",
                       "der Server hat keinen Platz mehr, bitte später noch einmal"),
    [POP3_CANNOT] = TELL("SYS/PERM", "this cannot be done", "das geht nicht"),
    [POP3_INTERNAL] = TELL("SYS/PERM", "internal error", "interner Fehler"),
    [POP3_DAMAGED] = TELL("SYS/PERM", "stored data is damaged, tell the postmaster",
                          "gespeicherte Daten sind beschädigt, bitte den Postmaster verständigen"),
    [POP3_NOT_REMOVED] = TELL("SYS/TEMP", "some deleted messages were not removed",
                              "einige gelöschte Nachrichten wurden nicht entfernt"),
    [POP3_SHUTTING_DOWN] =
        TELL("SYS/TEMP", "the server is shutting down", "der Server wird angehalten"),
    [POP3_KICKED] = TELL("SYS/TEMP", "an administrator ended this session",
                         "ein Administrator hat diese Sitzung beendet"),
    [POP3_LOGIN_OVER] = TELL("AUTH", "the account or its password has changed",
                             "das Konto oder sein Passwort ist geändert worden"),
};

/* The one table that turns a result into words [RFC2449 8] [RFC3206 4]. */
static const enum pop3_text of_rc[RC_COUNT] = {
    [RC_AGAIN] = POP3_AGAIN,         [RC_EOF] = POP3_INTERNAL,        [RC_LIMIT] = POP3_BUSY,
    [RC_SYNTAX] = POP3_NOT_A_NUMBER, [RC_NOTFOUND] = POP3_NO_MESSAGE, [RC_EXISTS] = POP3_INTERNAL,
    [RC_CONFLICT] = POP3_IN_USE,     [RC_DENIED] = POP3_DENIED,       [RC_TEMP] = POP3_NOT_NOW,
    [RC_FULL] = POP3_FULL,           [RC_PERM] = POP3_CANNOT,         [RC_CORRUPT] = POP3_DAMAGED,
};

struct str pop3_text_code(enum pop3_text text)
{
    return texts[text].code;
}

struct str pop3_text_line(enum pop3_text text, unsigned column)
{
    return texts[text].line[column];
}

enum pop3_text pop3_text_of_rc(enum rc rc)
{
    return (unsigned)rc < RC_COUNT && rc != RC_OK ? of_rc[rc] : POP3_INTERNAL;
}

const struct pop3_language *pop3_language_at(size_t i)
{
    return i < sizeof languages / sizeof *languages ? &languages[i] : NULL;
}

/* The range itself, else what is left of it without its last subtag [RFC4647 3.4]. */
const struct pop3_language *pop3_language_find(struct str range)
{
    const struct pop3_language *l;
    if (str_eq(range, STR("*"))) /* what the administrator prefers: the first */
        return &languages[0];
    while (range.n) {
        for (size_t i = 0; (l = pop3_language_at(i)); i++)
            if (str_ieq(range, l->tag))
                return l;
        ptrdiff_t dash = str_rfind_byte(range, '-');
        range = str_head(range, dash < 0 ? 0 : (size_t)dash);
    }
    return NULL;
}
