/* The ops on one head whose answer is lost: what their sender may conclude from reading back.
 *
 * docs/internals/rados.md, "Commit": an op compares the state and replaces it; the state has the ids
 * of the last ops. Here a state is known by its last id, and nothing else of it matters. Two
 * processes commit; an op of either, also the one by which it resolves, may be put into `late`
 * instead of being answered, and is done at any later time, or never.
 *
 * Checked: no commit is applied twice, though it is sent again after "never"; one that is said to be
 * applied is; one that is said never to be is not, and never will be. Nothing is said of one whose
 * traces are gone. */

#ifndef OPS
#define OPS 6 /* in all */
#endif
#define LATE 2 /* ops whose answer is lost */
#define RING 2 /* ids that a state remembers */
#define COMMITS OPS

byte ring[RING];             /* the ids of the last ops, the last one first; 0: the beginning */
byte ids;                    /* given out */
byte commits;                /* begun */
bool is_applied[OPS + 1];    /* by id */
bool is_never[OPS + 1];      /* by id: somebody has said so */
byte times[COMMITS + 1];     /* a commit was applied */

typedef Op { byte base, id, commit } /* commit 0: changes nothing but the state */
Op late[LATE];
byte lost;

#define IS_REMEMBERED(x) (ring[0] == x || ring[1] == x)

inline apply(op_base, op_id, op_commit)
{
	if
	:: ring[0] == op_base ->
		ring[1] = ring[0];
		ring[0] = op_id;
		assert(!is_never[op_id]);
		is_applied[op_id] = true;
		times[op_commit] = (op_commit -> times[op_commit] + 1 : 0);
		assert(times[op_commit] <= 1)
	:: else
	fi
}

inline lose(op_base, op_id, op_commit)
{
	late[lost].base = op_base; late[lost].id = op_id; late[lost].commit = op_commit;
	lost++
}

#define ARRIVE(i) \
	:: atomic { late[i].id -> apply(late[i].base, late[i].id, late[i].commit); late[i].id = 0 }

proctype network()
{
	do
	ARRIVE(0)
	ARRIVE(1)
	od
}

proctype process()
{
	byte base, id, commit, next;

begin:
	atomic { commits < COMMITS -> commits++; commit = commits }
again:
	base = ring[0];
commit_op:
	atomic {
		ids < OPS -> ids++; id = ids;
		if
		:: apply(base, id, commit) ->
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
		:: is_applied[id] && IS_REMEMBERED(id) -> assert(times[commit] == 1); goto begin
#ifdef FAULT_NEVER_TOO_EARLY
		:: ring[0] == base ->
			is_never[id] = true;
			goto again
#else
		:: ring[0] == base -> goto resolve_win
#endif
		:: ring[0] != base && ring[1] == base && ring[0] != id ->
			assert(!is_applied[id]);
			is_never[id] = true;
			goto again
		:: !IS_REMEMBERED(id) && !IS_REMEMBERED(base) ->
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
		:: apply(base, next, 0)
		:: lost < LATE -> lose(base, next, 0)
		fi;
		next = 0;
		goto resolve
	}
}

init
{
	atomic { run network(); run process(); run process() }
}
