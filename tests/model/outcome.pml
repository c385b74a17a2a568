/* The ops on one head whose answer is lost: what their sender may conclude from reading back.
 *
 * docs/internals/rados.md, "Commit": an op compares the state and replaces it; the state has the
 * last op of each of the last processes. Here a state is known by the id of its last op, and nothing
 * else of it matters. Three processes commit, of which a state remembers two; an op of any of them,
 * also the one by which it resolves, may be put into `late` instead of being answered, and is done
 * at any later time, or never.
 *
 * Checked: no commit is applied twice, though it is sent again after "never"; one that is said to be
 * applied is; one that is said never to be is not, and never will be. Nothing is said of one whose
 * traces are gone. */

#ifndef OPS
#define OPS 6 /* in all */
#endif
#ifndef LATE
#define LATE 2 /* ops whose answer is lost: 1 or 2 */
#endif
#define COMMITS OPS

typedef Last { byte sender, id }
Last ring[2];             /* the last op of two processes, the latest one first; id 0: none */
byte ids;                 /* given out */
byte commits;             /* begun */
bool is_applied[OPS + 1]; /* by id */
bool is_never[OPS + 1];   /* by id: somebody has said so */
byte times[COMMITS + 1];  /* a commit was applied */

typedef Op { byte sender, base, id, commit } /* commit 0: changes nothing but the state */
Op late[LATE];
byte lost;

inline apply(by, op_base, op_id, op_commit)
{
	if
	:: ring[0].id == op_base ->
		if
		:: ring[0].sender != by -> ring[1].sender = ring[0].sender; ring[1].id = ring[0].id
		:: else
		fi;
		ring[0].sender = by;
		ring[0].id = op_id;
		assert(!is_never[op_id]);
		is_applied[op_id] = true;
		times[op_commit] = (op_commit -> times[op_commit] + 1 : 0);
		assert(times[op_commit] <= 1)
	:: else
	fi
}

inline lose(op_base, op_id, op_commit)
{
	late[lost].sender = me;
	late[lost].base = op_base; late[lost].id = op_id; late[lost].commit = op_commit;
	lost++
}

#define ARRIVE(i) \
	:: atomic { \
		late[i].id -> \
		apply(late[i].sender, late[i].base, late[i].id, late[i].commit); \
		late[i].id = 0 \
	   }

proctype network()
{
	do
	ARRIVE(0)
#if LATE > 1
	ARRIVE(1)
#endif
	od
}

/* What the state says of this process. */
#define HAS_ME(x)     ((ring[0].sender == me && ring[0].id == x) || (ring[1].sender == me && ring[1].id == x))
#define HAS_OTHER(x)  ((ring[0].sender == me && ring[0].id != x) || (ring[1].sender == me && ring[1].id != x))
#define IS_ROOMY      (ring[1].id == 0)

proctype process(byte me)
{
	byte base, id, commit, next;

begin:
	atomic { commits < COMMITS -> commits++; commit = commits }
again:
	base = ring[0].id;
commit_op:
	atomic {
		ids < OPS -> ids++; id = ids;
		if
		:: apply(me, base, id, commit) ->
			if
			:: is_applied[id] -> goto begin
			:: else -> goto again
			fi
		:: lost < LATE -> lose(base, id, commit)
		fi
	}
resolve:
	atomic {
		if
		:: HAS_ME(id) -> assert(is_applied[id] && times[commit] == 1); goto begin
#ifdef FAULT_NEVER_TOO_EARLY
		:: !HAS_ME(id) && ring[0].id == base -> is_never[id] = true; goto again
#else
		:: !HAS_ME(id) && ring[0].id == base -> goto resolve_win
#endif
		:: ring[0].id != base && (HAS_OTHER(id) || (IS_ROOMY && !HAS_ME(id))) ->
			assert(!is_applied[id]);
			is_never[id] = true;
			goto again
		:: ring[0].id != base && !HAS_ME(id) && !HAS_OTHER(id) && !IS_ROOMY ->
#ifdef FAULT_FORGOTTEN_MEANS_NEVER
			is_never[id] = true;
			goto again
#else
			goto begin /* cannot be told */
#endif
		fi
	}
resolve_win:
	atomic {
		ids < OPS -> ids++; next = ids;
		if
		:: apply(me, base, next, 0)
		:: lost < LATE -> lose(base, next, 0)
		fi;
		next = 0;
		goto resolve
	}
}

init
{
	atomic { run network(); run process(1); run process(2); run process(3) }
}
