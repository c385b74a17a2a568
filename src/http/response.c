/* The head of a response. */
#include "http/http_int.h"

#include <time.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

/* [RFC9110 5.6.7] */
static void put_date(struct buf *out, uint64_t wall)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const time_t seconds = (time_t)(wall / NS_PER_SEC);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return;
    buf_putf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday,
             months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void http_head_put(struct buf *out, const struct http_head *head, uint64_t wall)
{
    buf_putf(out, "HTTP/1.1 %d %s\r\n", head->status, reason_of(head->status));
    put_date(out, wall);
    if (head->type)
        buf_putf(out, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", head->type);
    buf_putf(out, "Content-Length: %llu\r\nCache-Control: no-store\r\n",
             (unsigned long long)head->length);
    if (head->status == 405)
        buf_put(out, STR("Allow: GET, HEAD\r\n")); /* [RFC9110 15.5.6] */
    if (head->is_last)
        buf_put(out, STR("Connection: close\r\n"));
    buf_put(out, STR("\r\n"));
}
