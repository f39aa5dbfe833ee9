/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease.pml - how two nodes share one limit through Redis, as a Promela model, for spin(1).
 *
 * The rules are those that src/cluster/ and src/shm/lease.c are made by. Time is counted in ticks that only
 * the environment makes. A node reads nothing but ages: how long ago it sent or received something of its own.
 * Redis reads no clock, it numbers what it executes.
 *
 * What may happen at any moment, and as often as it likes where nothing else is said:
 *   - time passes; so a request or a reply takes long, an agent, a node or Redis is stopped, is cut off
 *   - a node gives up its request (a connection is cut, an agent is killed, the command timer is over), and sends another
 *   - a request that was given up is executed all the same, also after later ones; or never
 *   - a reply is lost
 *   - what runs ends by itself
 *   - Redis loses its data (LOSSES times)
 *   - node 0 is killed, its workers live on, and it starts again (KILLS times)
 *   - node 0 leaves (with LEAVES), guaranteed shares are configured anew (with SHARES)
 * and the script may grant any lease and any target within its bounds, whatever would be fair. Every node
 * uses at once all that it may, and parts with it as late as it may: the worst. For this the model proves that
 * never more is used than the limit, however often leases are renewed: numbers are renumbered after each step,
 * keeping what their order tells, so states are finite.
 *
 * t/t0201-lease-model.t says in which sizes it is run. What can be set:
 *   LIMIT, G        the limit; the share that is guaranteed to each of the two
 *   V               ticks that a lease may be used, from when its request was sent
 *   S               ticks after which others may count it as lapsed; until then what runs above it has ended
 *   W               ticks that a promise holds: to use no more than was said, from when a reply was received
 *   LATE            0: what was given up is never executed
 *   LOSSES, KILLS, LEAVES, SHARES, SLOW (a reply may be stored long after it was received)
 *   PROMPT          workers of a dead master whose lease is over end before the master's successor asks Redis; else
 *                   they may need a tick. (Without it Redis must know the node: one that was cut off while Redis
 *                   lost its data, and is killed and started again within that tick, has its share twice.)
 *   MUTATE_...      breaks one rule each: every one of them must be found out
 *   NEVER_...       claims that something does not happen that should: also to be found out
 */
#ifndef LIMIT
#define LIMIT 2
#endif
#ifndef G
#define G 1
#endif
#ifndef V
#define V 1
#endif
#ifndef S
#define S 2
#endif
#ifndef W
#define W 3
#endif
#ifndef LATE
#define LATE 1
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef KILLS
#define KILLS 0
#endif

/* ---- rules that are numbers, and what they become when broken ---- */

#if defined(MUTATE_SIGMA_AT_ONCE)
#define SIGMA_AGE 0
#elif defined(MUTATE_SIGMA_AFTER_V)
#define SIGMA_AGE V
#else
#define SIGMA_AGE S             /* sigma: the largest number of ours whose reply was received so long ago */
#endif
#ifdef MUTATE_RHO_AFTER_V
#define RHO_AGE (W - V)
#else
#define RHO_AGE (W - S)         /* rho: the smallest number of ours whose request was sent no longer ago */
#endif
#ifdef SLOW
#define PATIENCE W
#else
#define PATIENCE V              /* a later reply would be of no use */
#endif
#define H 8                     /* renewals that a node remembers: no more can make a difference */
#define NONE 0                  /* epoch of a node that has never reached Redis */

#define min(a, b) ((a) < (b) -> (a) : (b))
#define max(a, b) ((a) > (b) -> (a) : (b))
#define minus(a, b) ((a) > (b) -> (a) - (b) : 0)

/* ---- Redis ---- */

byte seq;                       /* number of the last execution */
byte epoch = 1;
byte first;                     /* number of the execution that began the epoch, until it is mature: */
bit mature = 1;                 /* all that was granted before has lapsed */
/* members */
bit known[2], left[2], incarnation[2];
byte rec_lease[2], rec_g[2];
byte rec_seq[2];                /* of its last request */
byte rec_q[2];                  /* of the last reply that it had received by then: it has promised something */
/*
 * The record of the incarnation before, which has begun anew: its workers live on for a moment. So it is reserved for as before, but
 * until it has lapsed from row_seq, when its successor came. row_was: number of its last request. Only node 0 is killed.
 */
bit row;
byte row_lease, row_g, row_was, row_seq, row_q;

/* ---- nodes ---- */

bit my_incarnation[2];
byte my_epoch[2];               /* NONE, or what the last reply said */
byte my_share[2] = G;           /* as configured */
/* the schedule in the segment */
byte lease[2], target[2], g[2];
byte age[2] = S;                /* since the request that brought the lease was sent */
byte promise[2] = W;            /* since the last reply was received */
/* what runs */
byte used[2];
bit above[2];                   /* more than the lease, under an earlier one, */
byte above_age[2];              /* which is so old */
/* in workers whose master is dead: so much, for how long at most; of it what is above the lease, and for how long */
byte dead_used, dead_left, dead_above, dead_above_left;
byte q[2];                      /* number of the last reply */
byte h_seq[2 * H], h_sent[2 * H], h_received[2 * H];    /* renewals, the oldest first: numbers and ages */
bit leaving;

/* ---- requests: the one that a node waits for, and one that it gave up ---- */

mtype = { NOTHING, REQUEST, REPLY, HELLO, HEARD };
mtype what[2] = NOTHING;
byte sent[2];                   /* age */
byte ask_epoch[2], ask_q[2], ask_sigma[2], ask_rho[2], ask_hold[2], ask_g[2];
bit ask_leaves[2];
byte reply_seq[2], reply_lease[2], reply_g[2];
byte heard[2];                  /* age, since it was received */
bit ghost[2], ghost_incarnation[2], ghost_leaves[2];
byte ghost_q[2], ghost_sigma[2], ghost_rho[2], ghost_hold[2], ghost_g[2];

byte losses, kills;
/* of the step; 0 between two steps */
byte i, j, k, n, low, high, pick;
bit fresh, lapsed;

/* ---- the schedule ---- */

#ifdef MUTATE_NO_FALL
#define FALLEN(i) lease[i]
#else
#define FALLEN(i) min(lease[i], g[i])
#endif
#ifdef MUTATE_RISE_AT_ONCE
#define RISEN(i) 1
#else
#define RISEN(i) (promise[i] >= W)
#endif
#define IN_FORCE(i) (age[i] < V -> min(lease[i], target[i]) : (RISEN(i) -> g[i] : FALLEN(i)))

inline use(i) { used[i] = max(used[i], IN_FORCE(i)) }

inline check() {
        assert(used[0] + used[1] + dead_used <= LIMIT);
#ifdef NEVER_LENT
        assert(used[0] < LIMIT);
#endif
#ifdef NEVER_LENT_AGAIN
        assert(!(used[0] == LIMIT && used[1] == 0 && age[1] < V && q[1] && losses));
#endif
#ifdef NEVER_FALLEN
        assert(!(used[0] == G && age[0] >= S));
#endif
#ifdef NEVER_CALLED_BACK
        assert(!above[0]);
#endif
}

/* Between V and S of the lease that it runs under, what is above what may be used ends. */
inline end_above(i) {
        used[i] = (above[i] && above_age[i] >= S -> min(used[i], lease[i]) : used[i]);
        used[i] = (age[i] >= S -> min(used[i], IN_FORCE(i)) : used[i]);
        above[i] = above[i] && used[i] > lease[i];
        above_age[i] = (above[i] -> above_age[i] : 0)
}

/* ---- a node's memory of its renewals ---- */

/* For this node's sigma it makes no difference when it heard of it: what its number tells is old. */
#define OLD(i, s) ((s) < rec_seq[1 - i] && !row && mature)

/* Two of the same number are one: for sigma it counts that one was received long ago, for rho that one was sent lately. */
inline forget(i) {
        n = 0;
        k = 0;
        do
        :: k < H && h_seq[i * H + k] ->
                h_received[i * H + k] = (OLD(i, h_seq[i * H + k]) -> SIGMA_AGE : h_received[i * H + k]);
                if
                :: h_sent[i * H + k] > RHO_AGE && (OLD(i, h_seq[i * H + k]) ||
                        (k + 1 < H && h_seq[i * H + k + 1] && h_received[i * H + k + 1] == h_received[i * H + k]))
                :: else ->
                        if
                        :: n && h_seq[i * H + n - 1] == h_seq[i * H + k] -> h_sent[i * H + n - 1] = h_sent[i * H + k]
                        :: else ->
                                h_seq[i * H + n] = h_seq[i * H + k];
                                h_sent[i * H + n] = h_sent[i * H + k];
                                h_received[i * H + n] = h_received[i * H + k];
                                n++
                        fi
                fi;
                k++
        :: else -> break
        od;
        do
        :: n < H -> h_seq[i * H + n] = 0; h_sent[i * H + n] = 0; h_received[i * H + n] = 0; n++
        :: else -> break
        od;
        n = 0;
        k = 0
}

inline forget_all(i) {
        k = 0;
        do
        :: k < H -> h_seq[i * H + k] = 0; h_sent[i * H + k] = 0; h_received[i * H + k] = 0; k++
        :: else -> break
        od;
        k = 0
}

inline remember(i) {
        k = 0;
        do
        :: h_seq[i * H + k] -> k++
        :: else -> break
        od;
        assert(k < H);
        h_seq[i * H + k] = reply_seq[i];
        h_sent[i * H + k] = min(sent[i], RHO_AGE + 1);
        h_received[i * H + k] = min(heard[i], SIGMA_AGE);
        k = 0
}

/* ---- a normal form of states: what makes no difference any more is made the same ---- */

/*
 * Numbers are compared in two cases: what node i knows (its history, sigma, rho) with what is told of the other one.
 * Neighbours that are never compared become one number.
 */
#define KNOWN_BY(i, s) (reply_seq[i] == s || ask_sigma[i] == s || ask_rho[i] == s || ghost_sigma[i] == s || \
        ghost_rho[i] == s || h_seq[i * H] == s || h_seq[i * H + 1] == s || h_seq[i * H + 2] == s || \
        h_seq[i * H + 3] == s || h_seq[i * H + 4] == s || h_seq[i * H + 5] == s || h_seq[i * H + 6] == s || \
        h_seq[i * H + 7] == s)
#define TOLD_OF(i, s) (rec_seq[i] == s || rec_q[i] == s || q[i] == s || ask_q[i] == s || ghost_q[i] == s || \
        reply_seq[i] == s || first == s || row_seq == s || row_was == s || row_q == s)
#define USES(s) (KNOWN_BY(0, s) + 2 * TOLD_OF(1, s) + 4 * KNOWN_BY(1, s) + 8 * TOLD_OF(0, s))
#define ARE_COMPARED(uses) (((uses) & 3) == 3 || ((uses) & 12) == 12)
#define DOWN(x) x = x - (x >= n -> 1 : 0)

inline all_down() {
        DOWN(first); DOWN(row_seq); DOWN(row_was); DOWN(row_q);
        DOWN(rec_seq[0]); DOWN(rec_q[0]); DOWN(q[0]); DOWN(reply_seq[0]);
        DOWN(rec_seq[1]); DOWN(rec_q[1]); DOWN(q[1]); DOWN(reply_seq[1]);
        DOWN(ask_q[0]); DOWN(ask_sigma[0]); DOWN(ask_rho[0]); DOWN(ghost_q[0]); DOWN(ghost_sigma[0]); DOWN(ghost_rho[0]);
        DOWN(ask_q[1]); DOWN(ask_sigma[1]); DOWN(ask_rho[1]); DOWN(ghost_q[1]); DOWN(ghost_sigma[1]); DOWN(ghost_rho[1]);
        pick = 0;
        do
        :: pick < 2 * H -> DOWN(h_seq[pick]); pick++
        :: else -> break
        od;
        seq--
}

inline settle(i) {
        if
        :: age[i] >= V ->
                lease[i] = IN_FORCE(i);
                target[i] = lease[i];
                promise[i] = (lease[i] == g[i] -> W : promise[i]);
                age[i] = (used[i] <= lease[i] && !KILLS -> S : age[i])
        :: else
        fi;
        ask_sigma[i] = (OLD(i, ask_sigma[i]) -> 0 : ask_sigma[i]);
        ghost_sigma[i] = (OLD(i, ghost_sigma[i]) -> 0 : ghost_sigma[i]);
        if
        :: my_epoch[i] != epoch -> forget_all(i)
        :: else
        fi
}

inline renumber() {
        n = seq;
        j = USES(n);
        do
        :: n > 0 ->
                k = (n > 1 -> USES(n - 1) : 15);
                if
                :: j == 0 || !ARE_COMPARED(j | k) ->
                        all_down();
                        k = (n > 1 -> j | k : 0)
                :: else
                fi;
                j = k;
                n--
        :: else -> break
        od;
        forget(0);
        forget(1)
}

inline done() {
        settle(0);
        settle(1);
        renumber();
        check();
        i = 0; j = 0; k = 0; n = 0; low = 0; high = 0; pick = 0; fresh = 0; lapsed = 0
}

/* ---- the script ---- */

#ifdef MUTATE_LAPSED_IS_NOTHING
#define LAPSED(j) 0
#else
#define LAPSED(j) min(rec_lease[j], rec_g[j])
#endif

inline drop_row() { row = 0; row_lease = 0; row_g = 0; row_was = 0; row_seq = 0; row_q = 0 }

/* What is to be left to the other member. */
inline reserve(j, sigma, rho) {
        fresh = rho && rec_q[j] >= rho;
        lapsed = sigma && sigma >= rec_seq[j];
#ifdef MUTATE_WITHOUT_RHO
        fresh = 1;
#endif
        if
        :: !known[j] -> high = G
        :: known[j] && left[j] -> high = 0
        :: known[j] && !left[j] && fresh -> high = (lapsed -> LAPSED(j) : rec_lease[j])
        :: known[j] && !left[j] && !fresh -> high = (lapsed -> rec_g[j] : max(rec_lease[j], rec_g[j]))
        fi;
        if
        :: row && sigma >= row_seq -> drop_row()
        :: row && sigma < row_seq ->
                row_lease = (sigma >= row_was -> min(row_lease, row_g) : row_lease);
                high = high + (rho && row_q >= rho -> row_lease : max(row_lease, row_g))
        :: else
        fi
}

/* The share stays the old one's until it has lapsed: it is guaranteed once. */
inline take_over(i) {
        row = 1;
        row_lease = rec_lease[i];
        row_g = rec_g[i];
        row_was = rec_seq[i];
        row_q = rec_q[i];
#ifdef MUTATE_ROW_LAPSES_AS_BEFORE
        row_seq = rec_seq[i];
#else
        row_seq = seq;
#endif
        rec_g[i] = 0;
#ifdef MUTATE_WITHOUT_ROW
        drop_row();
#endif
        skip
}

/* Member i asks. Its lease may be anything from low to high; n: its guaranteed share. */
inline script(i, inc, sigma, rho, hold, g_held, leaves) {
        seq++;
        mature = mature || sigma >= first;
        first = (mature -> 0 : first);
        if
        :: known[i] && inc > incarnation[i] -> take_over(i)
        :: else
        fi;
        reserve(1 - i, sigma, rho);
        low = max(min(hold, g_held), min(hold, minus(LIMIT, high)));
#ifdef MUTATE_HOLD_FOR_EVER
        low = hold;
#endif
#ifdef MUTATE_GROW_IN_A_NEW_EPOCH
        high = max(low, minus(LIMIT, high));
#else
        high = (mature -> max(low, minus(LIMIT, high)) : low);
#endif
#ifndef MUTATE_LEFT_IS_GRANTED
        high = (leaves -> low : high);
#endif
#ifdef MUTATE_SHARES_AT_ONCE
        n = my_share[i]
#else
        n = min(my_share[i], minus(LIMIT, (known[1 - i] -> rec_g[1 - i] : G) + row_g))
#endif
}

inline record(i, inc, my_q, hold, g_held, leaves) {
        known[i] = 1;
        incarnation[i] = inc;
        left[i] = leaves;
#ifdef MUTATE_RECORD_WHAT_IS_GRANTED
        rec_lease[i] = pick;
#else
        rec_lease[i] = max(hold, pick);
#endif
#ifdef MUTATE_SHARES_AT_ONCE
        rec_g[i] = n;
#else
        rec_g[i] = max(g_held, n);
#endif
        rec_seq[i] = seq;
        rec_q[i] = my_q
}

inline choose() {
        pick = low;
        do
        :: pick < high -> pick++
        :: break
        od;
        skip
}

/* ---- what a node does ---- */

inline drop_ghost(i) {
        ghost[i] = 0; ghost_incarnation[i] = 0; ghost_leaves[i] = 0; ghost_q[i] = 0; ghost_sigma[i] = 0;
        ghost_rho[i] = 0; ghost_hold[i] = 0; ghost_g[i] = 0
}

inline drop_ask(i) {
        ask_epoch[i] = 0; ask_q[i] = 0; ask_sigma[i] = 0; ask_rho[i] = 0; ask_hold[i] = 0; ask_g[i] = 0
}

inline drop(i) {
        drop_ask(i);
        what[i] = NOTHING; sent[i] = 0; ask_leaves[i] = 0;
        reply_seq[i] = 0; reply_lease[i] = 0; reply_g[i] = 0; heard[i] = 0
}

inline give_up(i) {
        if
        :: LATE && what[i] == REQUEST && ask_epoch[i] == epoch ->
                ghost[i] = 1; ghost_incarnation[i] = my_incarnation[i]; ghost_leaves[i] = ask_leaves[i];
                ghost_q[i] = ask_q[i]; ghost_sigma[i] = ask_sigma[i]; ghost_rho[i] = ask_rho[i];
                ghost_hold[i] = ask_hold[i]; ghost_g[i] = ask_g[i]
        :: else
        fi;
        drop(i)
}

inline sigma_and_rho(i) {
        k = 0;
        do
        :: k < H && h_seq[i * H + k] ->
                ask_sigma[i] = (h_received[i * H + k] >= SIGMA_AGE -> h_seq[i * H + k] : ask_sigma[i]);
                ask_rho[i] = (!ask_rho[i] && h_sent[i * H + k] <= RHO_AGE -> h_seq[i * H + k] : ask_rho[i]);
                k++
        :: else -> break
        od;
        k = 0
}

inline send(i) {
        what[i] = REQUEST;
        ask_epoch[i] = my_epoch[i];
        if
        :: my_epoch[i] != NONE ->
                ask_q[i] = q[i];
                ask_hold[i] = max(IN_FORCE(i), used[i]);
#ifndef MUTATE_LEASE_ABOVE_HOLD
                lease[i] = min(lease[i], ask_hold[i]);
                target[i] = min(target[i], lease[i]);
#endif
                ask_leaves[i] = i == 0 && leaving && ask_hold[i] == 0;
#ifndef MUTATE_LEFT_KEEPS_SHARE
                g[i] = (ask_leaves[i] -> 0 : g[i]);
#endif
                ask_g[i] = g[i];
                sigma_and_rho(i)
        :: else
        fi
}

inline answer_hello(i) {
        seq++;
        drop_ask(i);
        reply_seq[i] = seq;
        what[i] = HELLO
}

inline answer(i) {
        record(i, my_incarnation[i], ask_q[i], ask_hold[i], ask_g[i], ask_leaves[i]);
        drop_ask(i);
        reply_seq[i] = seq;
        reply_lease[i] = pick;
        reply_g[i] = n;
        what[i] = REPLY;
#ifndef MUTATE_WITHOUT_CALL_NUMBERS
        drop_ghost(i)
#endif
}

inline answer_nobody(i) {
        record(i, ghost_incarnation[i], ghost_q[i], ghost_hold[i], ghost_g[i], ghost_leaves[i]);
        drop_ghost(i)
}

/* Redis has a new epoch: in that nothing was promised so far. Its number tells this incarnation from those before and after it. */
inline begin_epoch(i) {
        forget_all(i);
        my_epoch[i] = epoch;
#ifdef MUTATE_GREETED_HAS_PROMISED
        q[i] = reply_seq[i];
#else
        q[i] = 0;
#endif
        drop(i)
}

inline store(i) {
        if
        :: used[i] > reply_lease[i] && !above[i] -> above[i] = 1; above_age[i] = age[i]
        :: used[i] <= reply_lease[i] -> above[i] = 0; above_age[i] = 0
        :: else
        fi;
        lease[i] = reply_lease[i];
        target[i] = pick;
#ifndef MUTATE_LEFT_KEEPS_SHARE
        g[i] = (ask_leaves[i] -> 0 : reply_g[i]);
#else
        g[i] = reply_g[i];
#endif
        age[i] = min(sent[i], S);
        promise[i] = heard[i];
        q[i] = reply_seq[i];
        remember(i);
        end_above(i);
        use(i);
        drop(i)
}

/* Its workers admit nobody any more; all that they have ends when its lease does, at once if that has ended. */
inline die(i) {
        give_up(i);
        forget_all(i);
        dead_used = used[i];
#ifdef PROMPT
        dead_left = minus(S, age[i]);
        dead_used = (dead_left -> used[i] : 0);
#else
        dead_left = (used[i] -> max(1, minus(S, age[i])) : 0);
#endif
#ifndef MUTATE_DEAD_KEEP_WHAT_IS_ABOVE
        dead_above = (above[i] -> used[i] - lease[i] : 0);
        dead_above_left = (above[i] -> max(1, minus(S, above_age[i])) : 0);
#endif
        used[i] = 0; above[i] = 0; above_age[i] = 0;
        lease[i] = 0; target[i] = 0; g[i] = 0; age[i] = S; promise[i] = W; q[i] = 0;
        my_epoch[i] = NONE;
        my_incarnation[i] = 1
}

inline lose_all() {
        known[0] = 0; left[0] = 0; incarnation[0] = 0; rec_lease[0] = 0; rec_g[0] = 0; rec_seq[0] = 0; rec_q[0] = 0;
        known[1] = 0; left[1] = 0; incarnation[1] = 0; rec_lease[1] = 0; rec_g[1] = 0; rec_seq[1] = 0; rec_q[1] = 0;
        drop_row();
        drop_ghost(0);
        drop_ghost(1);
        epoch++;
        seq++;
        first = seq;
        mature = 0
}

inline tick(i) {
#ifdef NEVER_RISEN
        assert(!(age[i] >= S && lease[i] == 0 && g[i] && promise[i] + 1 == W));
#endif
        age[i] = min(age[i] + 1, S);
        above_age[i] = (above[i] -> above_age[i] + 1 : 0);
        promise[i] = min(promise[i] + 1, W);
        sent[i] = (what[i] == NOTHING -> 0 : sent[i] + 1);
        heard[i] = (what[i] == HEARD -> heard[i] + 1 : 0);
        if
        :: sent[i] >= PATIENCE -> give_up(i)
        :: else
        fi;
        k = 0;
        do
        :: k < H && h_seq[i * H + k] ->
                h_sent[i * H + k] = min(h_sent[i * H + k] + 1, RHO_AGE + 1);
                h_received[i * H + k] = min(h_received[i * H + k] + 1, SIGMA_AGE);
                k++
        :: else -> break
        od;
        k = 0;
        end_above(i)
}

inline pass_time() {
        tick(0);
        tick(1);
        dead_left = minus(dead_left, 1);
        dead_above_left = minus(dead_above_left, 1);
        dead_used = (dead_left -> dead_used - (dead_above_left -> 0 : dead_above) : 0);
        dead_above = (dead_left && dead_above_left -> dead_above : 0);
        dead_above_left = (dead_above -> dead_above_left : 0);
        use(0);
        use(1)
}

proctype world() {
        do
        :: atomic {
                if
                :: i = 0
                :: i = 1
                fi;
                if
                :: d_step { i == 0 -> pass_time() }
                :: d_step { what[i] == NOTHING -> send(i) }
                :: d_step { what[i] != NOTHING -> give_up(i) }
                :: d_step { what[i] == REQUEST && ask_epoch[i] != epoch -> answer_hello(i) }
                :: what[i] == REQUEST && ask_epoch[i] == epoch ->
                        d_step { script(i, my_incarnation[i], ask_sigma[i], ask_rho[i], ask_hold[i], ask_g[i], ask_leaves[i]) };
                        choose();
                        d_step { answer(i) }
                :: ghost[i] ->                          /* is executed all the same */
                        d_step { script(i, ghost_incarnation[i], ghost_sigma[i], ghost_rho[i], ghost_hold[i], ghost_g[i],
                                ghost_leaves[i]) };
                        choose();
                        d_step { answer_nobody(i) }
                :: d_step { what[i] == HELLO -> begin_epoch(i) }
#ifdef SLOW
                :: d_step { what[i] == REPLY && sent[i] < V -> what[i] = HEARD }
                :: what[i] == HEARD ->
#else
                :: what[i] == REPLY ->
#endif
                        d_step { low = 0; high = reply_lease[i] };
                        choose();
                        d_step { store(i) }
                :: d_step { used[i] > IN_FORCE(i) -> used[i] = IN_FORCE(i); end_above(i) }
#if LOSSES
                :: d_step { i == 0 && losses < LOSSES && (known[0] || known[1]) -> losses++; lose_all() }
#endif
#if KILLS
                :: d_step { i == 0 && kills < KILLS && my_epoch[0] != NONE -> kills++; die(0) }
#endif
#ifdef LEAVES
                :: d_step { i == 0 && !leaving -> leaving = 1 }
#endif
#ifdef SHARES
                :: d_step { my_share[i] == G -> my_share[i] = i * LIMIT }
#endif
                fi;
                skip;
                d_step { done() }
           }
        od
}

init { atomic { run world() } }
