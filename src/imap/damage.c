/* Messages whose bytes were found damaged in the midst of a literal.
 *
 * There the connection has to end. A client that comes back and asks for the same again would never
 * get beyond that message: so the process remembers the last ones, and answers NO at once and all
 * others. Any thread. */
#include "imap/imap_int.h"

static bool is_it(const struct imap_damaged *d, uint64_t account, uint64_t email)
{
    return d->account == account && d->email == email;
}

void imap_damage_note(struct imap *imap, uint64_t account, uint64_t email)
{
    struct imap_damage *all = &imap->damage;
    pthread_mutex_lock(&all->mutex);
    all->at[all->n++ % IMAP_DAMAGE_MAX] = (struct imap_damaged){account, email};
    pthread_mutex_unlock(&all->mutex);
}

bool imap_damage_is_known(struct imap *imap, uint64_t account, uint64_t email)
{
    struct imap_damage *all = &imap->damage;
    bool is_known = false;
    pthread_mutex_lock(&all->mutex);
    for (size_t i = 0; i < all->n && i < IMAP_DAMAGE_MAX && !is_known; i++)
        is_known = is_it(&all->at[i], account, email);
    pthread_mutex_unlock(&all->mutex);
    return is_known;
}
