/* The rows of one partition on RADOS: commits, folds, splits, cleaning, reading.
 *
 * docs/internals/rados.md is the protocol; its steps have their names here, with _ for -. Two keys
 * stand for the key space: a shard holds key 0, key 1 or both. The value of a row is the version of
 * the commit that put it, so a wrong one is known by itself; 0 is "no row".
 *
 * What RADOS gives: an op on one object happens as a whole (an atomic block here). What it does not
 * give: an answer. Any op on a shard may be put into `late` instead of being done: its process gives
 * up, as if it had crashed or doubted, and the op is done at any later time, or never. Ops on the
 * head need no such thing: since each compares the state, a late one is in time after all or does
 * nothing. (outcome.pml is about what their sender may conclude.)
 *
 * Each fold has a process of its own, so all of them may be under way at once, and one that stops
 * for good is a crash. One process commits for all, because a commit is one op. One cleans, one
 * reads.
 *
 * Checked after each op: for each key, what the head, its trim and the shard of its map say is what
 * was committed last ("What always holds", 3); what the map names is there; what is there has a
 * name. Checked for the reader, also with a page that it kept: it sees the version that it says.
 *
 * Defining one of FAULT_... leaves out one guard; test_model.py wants spin to find the harm in each.
 */

#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef FOLDS
#define FOLDS 2
#endif
#ifndef LATE
#define LATE 1 /* ops whose answer is lost: 1 or 2 */
#endif

#define KEYS 2

/* --- the cluster ------------------------------------------------------------------------------ */

typedef Row { byte stamp, value } /* stamp: version of its commit, 0: not here; value 0: tombstone */

/* The only trim is the last one, of all keys: it covers those before it. */
typedef Head {
	byte version, epoch, finished;
	Row rows[KEYS];
	byte trim;         /* its stamp; 0: none */
	byte map[KEYS];    /* the shard that holds the key; 0: none */
	byte touched[KEYS]
}

typedef Shard {
	bool is_there;
	bool is_listed; /* by a row x of the head */
	byte fence;
	byte values[KEYS]
}

#define SHARDS            (2 * FOLDS + 2)
/* The fold of epoch E makes two at most. */
#define NEW(epoch, n)     (2 * (epoch) + 1 + n)
#define EPOCH_OF(s)       ((s - 1) / 2)

Head head;
Shard shards[SHARDS + 1];    /* 0 is none; 1 and 2 may be there at the start */
byte truth[KEYS];            /* the last version, by the commits alone */

#define MERGED(st, k, below) (st.rows[k].stamp -> st.rows[k].value : (st.trim -> 0 : below))
#define VIEW(k)              MERGED(head, k, (head.map[k] -> shards[head.map[k]].values[k] : 0))
#define IS_MAPPED(s)         (head.map[0] == s || head.map[1] == s)
#define IS_RIGHT(k) \
	(VIEW(k) == truth[k] && (!head.map[k] || shards[head.map[k]].is_there))
#define HAS_NAME(s)          (!shards[s].is_there || shards[s].is_listed || IS_MAPPED(s))

inline check()
{
	assert(IS_RIGHT(0));
	assert(IS_RIGHT(1));
	assert(HAS_NAME(1) && HAS_NAME(2) && HAS_NAME(3) && HAS_NAME(4));
#if FOLDS > 1
	assert(HAS_NAME(5) && HAS_NAME(6));
#endif
#if FOLDS > 2
	assert(HAS_NAME(7) && HAS_NAME(8));
#endif
}

/* --- ops on shards: guard and change ---------------------------------------------------------- */

mtype = { NOTHING, FENCE, WIPE, SET, MAKE, REMOVE }

typedef Op {
	mtype kind;
	byte shard, epoch;
	byte a, b /* SET: key and value; MAKE: the values of both keys */
}

Op late[LATE];
byte lost; /* ops so far */

#ifdef FAULT_FENCE_NOT_COMPARED
#define IS_FENCED(o) shards[o.shard].is_there
#else
#define IS_FENCED(o) (shards[o.shard].is_there && shards[o.shard].fence == o.epoch)
#endif
#ifdef FAULT_FENCE_SHRINKS
#define MAY_FENCE(o) shards[o.shard].is_there
#else
#define MAY_FENCE(o) (shards[o.shard].is_there && shards[o.shard].fence < o.epoch)
#endif

inline apply(o, out_done)
{
	out_done = true;
	if
	:: o.kind == FENCE && MAY_FENCE(o) ->
		shards[o.shard].fence = o.epoch
	:: o.kind == WIPE && IS_FENCED(o) ->
		shards[o.shard].values[0] = 0;
		shards[o.shard].values[1] = 0
	:: o.kind == SET && IS_FENCED(o) ->
		shards[o.shard].values[o.a] = o.b
	:: o.kind == MAKE && !shards[o.shard].is_there ->
		shards[o.shard].is_there = true;
		shards[o.shard].fence = o.epoch;
		shards[o.shard].values[0] = o.a;
		shards[o.shard].values[1] = o.b
	:: o.kind == REMOVE && shards[o.shard].is_there ->
		shards[o.shard].is_there = false;
		shards[o.shard].fence = 0;
		shards[o.shard].values[0] = 0;
		shards[o.shard].values[1] = 0
	:: else ->
		out_done = false
	fi;
	check()
}

inline forget(o)
{
	o.kind = NOTHING; o.shard = 0; o.epoch = 0; o.a = 0; o.b = 0
}

/* The op is done, or refused, or its answer is lost. Unless it was done its sender gives up. */
inline send(what, where, x, y)
{
	o.kind = what; o.shard = where; o.epoch = E; o.a = x; o.b = y;
	if
	:: apply(o, is_done)
	:: lost < LATE ->
		late[lost].kind = o.kind; late[lost].shard = o.shard; late[lost].epoch = o.epoch;
		late[lost].a = o.a; late[lost].b = o.b;
		lost++;
		is_done = false
	fi;
	forget(o);
	if
	:: is_done -> is_done = false
	:: else -> goto gave_up
	fi
}

/* What was lost arrives after all. */
#define ARRIVE(i) \
	:: atomic { late[i].kind != NOTHING -> apply(late[i], is_done); forget(late[i]); is_done = false }

proctype network()
{
	bool is_done;
	do
	ARRIVE(0)
#if LATE > 1
	ARRIVE(1)
#endif
	od
}

/* --- commit ----------------------------------------------------------------------------------- */

#ifdef FAULT_NO_TRACE_WITHOUT_SHARDS
#define NEEDS_TRACE (head.map[0] || head.map[1])
#elif defined(FAULT_TRIM_IS_TRACE)
#define NEEDS_TRACE (!head.trim && (head.map[0] || head.map[1] || head.finished != head.epoch))
#else
#define NEEDS_TRACE (head.map[0] || head.map[1] || head.finished != head.epoch)
#endif

inline commit_key(k, now)
{
	truth[k] = now;
	head.rows[k].stamp = (now || NEEDS_TRACE -> head.version : 0);
	head.rows[k].value = now
}

inline commit_trim()
{
	truth[0] = 0; head.rows[0].stamp = 0; head.rows[0].value = 0;
	truth[1] = 0; head.rows[1].stamp = 0; head.rows[1].value = 0;
	head.trim = (NEEDS_TRACE -> head.version : 0)
}

proctype committer()
{
commit:
	do
	:: head.version < COMMITS -> atomic {
		head.version++;
		if
		:: commit_key(0, head.version)
		:: commit_key(1, head.version)
		:: commit_key(0, 0)
		:: commit_trim()
		fi;
		check()
	   }
	:: break
	od
}

/* --- fold ------------------------------------------------------------------------------------- */

bool is_alive[FOLDS + 1]; /* by epoch: its process may still send something */

#define IS_OLD(stamp)     ((stamp) != 0 && (stamp) <= cut)
#define IS_CHANGED(k)     (at.rows[k].stamp || at.trim)
#define IS_ONE            (at.map[0] == at.map[1])
#define IS_REPLACED(k)    (to[k] != at.map[k])
#define IS_NEW(k)         (to[k] >= NEW(E, 0))
#define IS_TOUCHED(k)     (IS_CHANGED(k) || IS_REPLACED(k))
/* What a new shard gets. */
#define FOLDED(k) \
	(at.rows[k].stamp -> at.rows[k].value : (at.trim -> 0 : old[k]))

/* Which shards stay (the key's shard is the same afterwards) and which are replaced, by what. */
inline plan()
{
	if
	:: at.map[0] && at.map[1] -> to[0] = at.map[0]; to[1] = at.map[1]
	:: IS_ONE -> to[0] = NEW(E, 0); to[1] = NEW(E, 0)
	:: to[0] = NEW(E, 0); to[1] = NEW(E, 1) /* split, or both replaced */
	:: !IS_ONE -> to[0] = at.map[0]; to[1] = NEW(E, 1)
	:: !IS_ONE -> to[0] = NEW(E, 0); to[1] = at.map[1]
	fi
}

inline take_key(k)
{
	if
	:: IS_OLD(head.rows[k].stamp) ->
		at.rows[k].stamp = head.rows[k].stamp;
		at.rows[k].value = head.rows[k].value
	:: else
	fi;
	at.map[k] = head.map[k]
}

inline take()
{
	head.epoch = E;
	is_alive[E] = true;
	shards[NEW(E, 0)].is_listed = true;
	shards[NEW(E, 1)].is_listed = true;
	cut = head.version;
	if
	:: cut > 1 -> cut--
	:: true
	fi;
	at.trim = (IS_OLD(head.trim) -> head.trim : 0);
	take_key(0);
	take_key(1);
	plan();
	check()
}

/* A page, or a row: nothing but this fold changes the shard now, so one read stands for several. */
inline read_key(k)
{
	if
	:: IS_REPLACED(k) && at.map[k] && shards[at.map[k]].fence == E ->
		old[k] = shards[at.map[k]].values[k]
	:: IS_REPLACED(k) && at.map[k] && shards[at.map[k]].fence != E -> goto gave_up
	:: else
	fi
}

/* Nothing is left for a new shard: it is not made, and the other one takes its range. */
inline drop_empty()
{
	if
	:: IS_NEW(0) && IS_NEW(1) && !FOLDED(0) && !FOLDED(1) -> to[0] = 0; to[1] = 0
	:: IS_NEW(0) && to[0] != to[1] && !FOLDED(0) && (FOLDED(1) || !IS_NEW(1)) -> to[0] = to[1]
	:: IS_NEW(1) && to[0] != to[1] && !FOLDED(1) && (FOLDED(0) || !IS_NEW(0)) -> to[1] = to[0]
	:: true
	fi
}

#ifdef FAULT_STAMP_NOT_COMPARED
#define LEAVES(k) at.rows[k].stamp
#else
#define LEAVES(k) IS_OLD(head.rows[k].stamp)
#endif

inline finish_key(k)
{
	if
	:: LEAVES(k) -> head.rows[k].stamp = 0; head.rows[k].value = 0
	:: else
	fi;
	if
	:: IS_TOUCHED(k) || (to[0] == to[1] && (IS_CHANGED(0) || IS_CHANGED(1))) -> head.touched[k] = E
	:: else
	fi;
	head.map[k] = to[k];
	shards[to[k]].is_listed = false
}

inline finish()
{
	shards[at.map[0]].is_listed = at.map[0] != 0;
	shards[at.map[1]].is_listed = at.map[1] != 0;
	finish_key(0);
	finish_key(1);
	if
	:: IS_OLD(head.trim) -> head.trim = 0
	:: else
	fi;
	head.finished = E;
	check()
}

#ifdef FAULT_OVERTAKEN_FINISH
#define MAY_FINISH true
#else
#define MAY_FINISH (head.epoch == E)
#endif

inline forget_key(k)
{
	at.rows[k].stamp = 0; at.rows[k].value = 0; at.map[k] = 0; to[k] = 0; old[k] = 0
}

/* The fold with epoch E. Which process begins which fold makes no difference. */
proctype folder(byte E)
{
	byte cut;
	Head at;        /* what is folded, as the head was at fold_take */
	byte to[KEYS];  /* the shard of each key from fold_finish on */
	byte old[KEYS]; /* what replaced shards held */
	byte x, y;
	Op o;
	bool is_done;

fold_take:
	atomic { head.epoch == E - 1 -> take() }
fold_fence:
	if
	:: at.map[0] && (IS_TOUCHED(0) || (IS_ONE && IS_TOUCHED(1))) ->
		atomic { send(FENCE, at.map[0], 0, 0) }
	:: else
	fi;
	if
	:: at.map[1] && !IS_ONE && IS_TOUCHED(1) -> atomic { send(FENCE, at.map[1], 0, 0) }
	:: else
	fi;
fold_write:
	if
	:: !IS_REPLACED(0) && at.trim -> atomic { send(WIPE, to[0], 0, 0) }
	:: else
	fi;
	if
	:: !IS_REPLACED(1) && at.trim && !IS_ONE -> atomic { send(WIPE, to[1], 0, 0) }
	:: else
	fi;
	if
	:: !IS_REPLACED(0) && at.rows[0].stamp -> atomic { send(SET, to[0], 0, at.rows[0].value) }
	:: else
	fi;
	if
	:: !IS_REPLACED(1) && at.rows[1].stamp -> atomic { send(SET, to[1], 1, at.rows[1].value) }
	:: else
	fi;
fold_read:
	atomic { read_key(0); read_key(1); drop_empty() }
fold_make: /* and fold_fill: nobody can see the difference */
	if
	:: IS_NEW(0) -> atomic {
		x = FOLDED(0);
		y = (to[0] == to[1] -> FOLDED(1) : 0);
		send(MAKE, to[0], x, y)
	   }
	:: else
	fi;
	if
	:: IS_NEW(1) && to[0] != to[1] -> atomic { x = 0; y = FOLDED(1); send(MAKE, to[1], x, y) }
	:: else
	fi;
fold_finish:
	atomic {
		if
		:: MAY_FINISH -> finish()
		:: else
		fi
	}
gave_up:
	atomic {
		is_alive[E] = false;
		cut = 0; x = 0; y = 0;
		at.trim = 0; forget_key(0); forget_key(1)
	}
}

/* --- clean ------------------------------------------------------------------------------------ */

/* No map will name it any more. */
#ifdef FAULT_CLEANS_UNFINISHED
#define IS_UNUSED(s) (shards[s].is_listed && !IS_MAPPED(s))
#else
#define IS_UNUSED(s) \
	(shards[s].is_listed && !IS_MAPPED(s) && (EPOCH_OF(s) < head.epoch || head.finished == head.epoch))
#endif
/* A row x is kept for longer than any op or fold is under way. */
#define IS_QUIET(s) \
	(!is_alive[EPOCH_OF(s)] && !(late[0].kind == MAKE && late[0].shard == s) && \
	 !(late[LATE - 1].kind == MAKE && late[LATE - 1].shard == s))

/* clean_remove, then clean_forget. */
#define CLEAN(s) \
	:: atomic { IS_UNUSED(s) && shards[s].is_there -> send(REMOVE, s, 0, 0) } \
	:: atomic { IS_UNUSED(s) && !shards[s].is_there && IS_QUIET(s) -> shards[s].is_listed = false }

proctype cleaner()
{
	byte E = 0;
	Op o;
	bool is_done;

again:
	do
	CLEAN(1)
	CLEAN(2)
	CLEAN(3)
	CLEAN(4)
#if FOLDS > 1
	CLEAN(5)
	CLEAN(6)
#endif
#if FOLDS > 2
	CLEAN(7)
	CLEAN(8)
#endif
	od;
gave_up:
	goto again
}

/* --- read ------------------------------------------------------------------------------------- */

#ifdef FAULT_READ_UNGUARDED
#define MAY_READ(s) shards[s].is_there
#else
#define MAY_READ(s) (shards[s].is_there && shards[s].fence <= epoch)
#endif
#ifdef FAULT_KEPT_BY_NUMBER
#define IS_KEPT(k) (head.map[k] == map)
#else
#define IS_KEPT(k) (head.map[k] == map && head.touched[k] == touched)
#endif

/* Reads one key, which stands for each of a page: either for the state that was seen, which needs
 * looking at only when the shard's word counts in it, or to merge the page with a later state. */
proctype reader()
{
	byte k, map, epoch, page;
	byte right;   /* of the state seen */
	byte touched; /* of the page that is kept */
	bool is_kept;

read_head:
	atomic {
		if
		:: head.map[0]
		:: head.map[1] -> k = 1
		fi;
		map = head.map[k];
		epoch = head.epoch;
		if
		:: head.rows[k].stamp == 0 && head.trim == 0 -> right = truth[k]
		:: is_kept = true; touched = head.touched[k]
		fi
	}
read_page:
	atomic {
		if
		:: MAY_READ(map) -> page = shards[map].values[k]; epoch = 0
		:: else -> k = 0; map = 0; right = 0; is_kept = false; touched = 0; goto read_head
		fi;
		assert(is_kept || page == right)
	}
read_kept:
	atomic {
		if
		:: is_kept && IS_KEPT(k) -> assert(MERGED(head, k, page) == truth[k])
		:: else
		fi;
		k = 0; map = 0; page = 0; right = 0; is_kept = false; touched = 0
	}
}

/* --- the start -------------------------------------------------------------------------------- */

/* Nothing committed and no shards; or both keys in one shard, or in two. */
init
{
	atomic {
		if
		:: true
		:: head.map[0] = 1; head.map[1] = 1
		:: head.map[0] = 1; head.map[1] = 2
		fi;
		if
		:: head.map[0] ->
			head.version = 1;
			truth[0] = 1;
			truth[1] = 1;
			shards[head.map[0]].is_there = true;
			shards[head.map[1]].is_there = true;
			shards[head.map[0]].values[0] = 1;
			shards[head.map[1]].values[1] = 1
		:: else
		fi;
		run network();
		run committer();
#ifndef NO_CLEANER
		run cleaner();
#endif
#ifndef NO_READER
		run reader();
#endif
		run folder(1);
#if FOLDS > 1
		run folder(2);
#endif
#if FOLDS > 2
		run folder(3)
#endif
	}
}
