/* All that the server says to people, by number: whether it is OK, NO or BAD, the response code
 * that programs read [RFC3501 7.1] [RFC9051 7.1] [RFC5530], and the words. Texts never hold what a
 * client has sent. */
#include "imap/imap_int.h"

struct text {
    enum imap_status status;
    struct str code; /* with its brackets and a space; absent: none */
    struct str line;
};
#define SAY(status, words)                                                                         \
    {                                                                                              \
        status, {0}, STR_INIT(words)                                                               \
    }
#define TELL(status, code, words)                                                                  \
    {                                                                                              \
        status, STR_INIT("[" code "] "), STR_INIT(words)                                           \
    }

static const struct text texts[IMAP_TEXTS] = {
    [IMAP_DONE] = SAY(IMAP_OK, "completed"),      /* behind the verb */
    [IMAP_LOGGED_IN] = SAY(IMAP_OK, "logged in"), /* with the capabilities */
    [IMAP_BEGIN_TLS] = SAY(IMAP_OK, "begin TLS"),
    [IMAP_SELECTED_READ_WRITE] = TELL(IMAP_OK, "READ-WRITE", "selected"),
    [IMAP_SELECTED_READ_ONLY] = TELL(IMAP_OK, "READ-ONLY", "selected, to be read only"),
    [IMAP_UNAUTHENTICATED] = SAY(IMAP_OK, "logged out, log in again"),
    [IMAP_COMPRESS] = SAY(IMAP_OK, "what follows is compressed"),
    [IMAP_IDLE_OVER] = SAY(IMAP_OK, "IDLE completed"),
    [IMAP_SEARCHED_SOME] = TELL(IMAP_OK, "LIMIT", "only the newest messages were searched"),
    [IMAP_MODIFIED] = SAY(IMAP_OK, "changed, but for what others have changed meanwhile"),
    [IMAP_EXPUNGED] = TELL(IMAP_NO, "EXPUNGEISSUED", "some of the messages have been expunged"),
    [IMAP_NOT_SAVED] = TELL(IMAP_NO, "NOTSAVED", "the result is too long to be kept"),
    /* Which of the two is not said [RFC3501 11.2] [RFC9051 11.7]. */
    [IMAP_AUTH_FAILED] = TELL(IMAP_NO, "AUTHENTICATIONFAILED", "name or password is wrong"),
    [IMAP_AUTH_BUSY] = TELL(IMAP_NO, "UNAVAILABLE", "the server is busy, try again later"),
    [IMAP_AUTH_BLOCKED] = TELL(IMAP_NO, "UNAVAILABLE", "too many wrong passwords, try again later"),
    [IMAP_TOO_MANY_SESSIONS] = /* [RFC5530 3] */
    TELL(IMAP_NO, "LIMIT", "the account has too many connections, close one of them"),
    [IMAP_OTHER_IDENTITY] = TELL(IMAP_NO, "AUTHORIZATIONFAILED", "only your own mailboxes"),
    [IMAP_NO_MECHANISM] = SAY(IMAP_NO, "there is no such mechanism"),
    [IMAP_PRIVACY] = TELL(IMAP_NO, "PRIVACYREQUIRED", "passwords only in TLS"),
    [IMAP_NO_TLS] = TELL(IMAP_NO, "UNAVAILABLE", "TLS is not available here"),
    [IMAP_NO_UID] = SAY(IMAP_NO, "there is no message of this UID"),
    [IMAP_NO_MAILBOX] = TELL(IMAP_NO, "NONEXISTENT", "there is no such mailbox"),
    [IMAP_NO_MAILBOX_TRYCREATE] = TELL(IMAP_NO, "TRYCREATE", "there is no such mailbox"),
    [IMAP_NOT_SELECTABLE] =
        TELL(IMAP_NO, "NONEXISTENT", "this name holds other mailboxes and no messages"),
    [IMAP_READ_ONLY] = TELL(IMAP_NO, "READ-ONLY", "the mailbox was opened with EXAMINE"),
    [IMAP_ALREADY_EXISTS] = TELL(IMAP_NO, "ALREADYEXISTS", "a mailbox of this name exists"),
    [IMAP_HAS_CHILDREN] = TELL(IMAP_NO, "HASCHILDREN", "there are mailboxes below it"),
    [IMAP_CANNOT] = TELL(IMAP_NO, "CANNOT", "this cannot be done"),
    [IMAP_TOO_FEW] = TELL(IMAP_NO, "TOOFEW", "a batch has 500 messages or more"),
    [IMAP_TOO_MANY] = TELL(IMAP_NO, "TOOMANY", "batches of 100000 messages at most at once"),
    [IMAP_TOO_OFTEN] = TELL(IMAP_NO, "LIMIT", "the batches are nearly what they were"),
    [IMAP_WRONG_ORDER] = TELL(IMAP_BAD, "CLIENTBUG", "batches are counted upwards"),
    [IMAP_OVER_QUOTA] = TELL(IMAP_NO, "OVERQUOTA", "the account has no room for this"),
    [IMAP_LIMIT] = TELL(IMAP_NO, "LIMIT", "this is more than is allowed"),
    [IMAP_MESSAGE_LIMIT] = SAY(IMAP_NO, "these are more messages than one command may process"),
    [IMAP_TOO_BIG] = TELL(IMAP_NO, "TOOBIG", "the message is too large"),
    [IMAP_EMPTY] = SAY(IMAP_NO, "a message without a byte cancels the APPEND"),
    [IMAP_HEADER_8BIT] =
        TELL(IMAP_NO, "CANNOT", "a message with such a header needs ENABLE UTF8=ACCEPT first"),
    [IMAP_BAD_CHARSET] = TELL(IMAP_NO, "BADCHARSET (UTF-8 US-ASCII ISO-8859-1)",
                              "this character set is not known here"),
    [IMAP_UNKNOWN_CTE] =
        TELL(IMAP_NO, "UNKNOWN-CTE", "the part has an encoding that is not known here"),
    [IMAP_USE_ATTR] = TELL(IMAP_NO, "USEATTR", "no such use, or another mailbox has it"),
    [IMAP_BAD_EVENT] = TELL(
        IMAP_NO, "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)",
        "only these events are known here"),
    [IMAP_NOTIFY_TOO_MUCH] = TELL(IMAP_NO, "NOTIFICATIONOVERFLOW",
                                  "fewer mailboxes at once, or all of them by PERSONAL"),
    [IMAP_IN_USE] = TELL(IMAP_NO, "INUSE", "somebody else is changing this, try again"),
    [IMAP_NOT_NOW] = TELL(IMAP_NO, "UNAVAILABLE", "the server cannot do this now, try again later"),
    [IMAP_FULL] = TELL(IMAP_NO, "UNAVAILABLE", "the server has no space left, try again later"),
    [IMAP_DAMAGED] = TELL(IMAP_NO, "CORRUPTION", "stored data is damaged, tell the postmaster"),
    [IMAP_INTERNAL] = TELL(IMAP_NO, "SERVERBUG", "internal error"),
    [IMAP_NO_COMMAND] = SAY(IMAP_BAD, "there is no such command"),
    [IMAP_NO_TAG] = SAY(IMAP_BAD, "a command begins with a tag, a space and its name"),
    [IMAP_LOGIN_FIRST] = SAY(IMAP_BAD, "log in first"),
    [IMAP_LOGGED_IN_ALREADY] = SAY(IMAP_BAD, "you are logged in already"),
    [IMAP_UID_REQUIRED] =
        TELL(IMAP_BAD, "UIDREQUIRED", "with UIDONLY, messages have UIDs and no numbers"),
    [IMAP_SELECT_FIRST] = SAY(IMAP_BAD, "select a mailbox first"),
    [IMAP_CLOSE_FIRST] = SAY(IMAP_BAD, "only while no mailbox is selected"),
    [IMAP_SYNTAX] = SAY(IMAP_BAD, "expected"), /* before what the parser expected */
    [IMAP_NO_MESSAGE] = SAY(IMAP_BAD, "there is no message of this number"),
    [IMAP_BARE] = SAY(IMAP_BAD, "a line ends in CR LF and has no NUL or CR within"),
    [IMAP_NUL] = SAY(IMAP_BAD, "a message with NUL bytes has to come as a literal8"),
    [IMAP_TOO_LONG] = TELL(IMAP_BAD, "LIMIT", "the line is too long"),
    [IMAP_TOO_LONG_COMMAND] = TELL(IMAP_BAD, "LIMIT", "the command is too long"),
    [IMAP_LITERAL_TOO_BIG] = TELL(IMAP_BAD, "TOOBIG", "the literal is too large"),
    [IMAP_INJECTION] = SAY(IMAP_BAD, "nothing may follow STARTTLS before its answer"),
    [IMAP_TLS_ACTIVE] = SAY(IMAP_BAD, "TLS is active already"),
    [IMAP_COMPRESSED] = TELL(IMAP_BAD, "COMPRESSIONACTIVE", "COMPRESS has been given already"),
    [IMAP_SELECTED_ONLY] = SAY(IMAP_BAD, "SAVE is for a search of the selected mailbox alone"),
    [IMAP_TAG_USED] = SAY(IMAP_BAD, "a search of this tag is still kept up to date"),
    [IMAP_NOT_BASE64] = SAY(IMAP_BAD, "the response is not base 64"),
    [IMAP_NOT_A_RESPONSE] = SAY(IMAP_BAD, "the response is not one of this mechanism"),
    [IMAP_CANCELLED] = SAY(IMAP_BAD, "cancelled"),
    [IMAP_DONE_EXPECTED] = SAY(IMAP_BAD, "expected DONE"),
};

/* The one table that turns a result into words. */
static const enum imap_text of_rc[RC_COUNT] = {
    [RC_AGAIN] = IMAP_NOT_NOW,   [RC_EOF] = IMAP_INTERNAL,        [RC_LIMIT] = IMAP_LIMIT,
    [RC_SYNTAX] = IMAP_CANNOT,   [RC_NOTFOUND] = IMAP_NO_MAILBOX, [RC_EXISTS] = IMAP_ALREADY_EXISTS,
    [RC_CONFLICT] = IMAP_IN_USE, [RC_DENIED] = IMAP_AUTH_FAILED,  [RC_TEMP] = IMAP_NOT_NOW,
    [RC_FULL] = IMAP_FULL,       [RC_PERM] = IMAP_CANNOT,         [RC_CORRUPT] = IMAP_DAMAGED,
};

enum imap_status imap_text_status(enum imap_text text)
{
    return texts[text].status;
}

struct str imap_text_code(enum imap_text text)
{
    return texts[text].code;
}

struct str imap_text_line(enum imap_text text)
{
    return texts[text].line;
}

enum imap_text imap_text_of_rc(enum rc rc)
{
    return (unsigned)rc < RC_COUNT && rc != RC_OK ? of_rc[rc] : IMAP_INTERNAL;
}
