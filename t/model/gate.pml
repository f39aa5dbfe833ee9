/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.pml - src/shm/gate.c and gate_turn.c as a Promela model, for spin(1).
 *
 * Workers share `limit` permits through one word (used) and one cell per worker.
 * Each worker may have two tickets in line, of which the better one is published;
 * it arrives, tries, cancels, collects, releases and sleeps in any order. Any
 * worker may die between any two steps that others can see (a death right after the
 * beginning of a step is no other than one before it), and comes to life again once
 * it is reaped. The master reaps, audits, and changes the
 * limit. For two workers this proves:
 *   - never more permits are owned than the limit allows  (assert in owned_more)
 *   - none is lost, none is invented, also not by a death  (asserts in the master)
 *   - nobody who waits is forgotten                        (no invalid end state)
 *
 * t/t0200-model.t says in which sizes it is run. What can be set:
 *   LIMIT, NEWLIMIT   permits, and what the master changes that to (not at all)
 *   ROUNDS, AGAIN     tickets that each worker takes, in its first life and in each later one
 *   TICKETS           of them in line at a time (1 or 2)
 *   MAXCRASH          deaths
 *   TRY, BETTER       tickets may use gate_try(); may be better than the published one
 *   MUTATE_...        breaks one rule each: every one of them must be found out
 */
#define W 2 /* OWNED and some_corpse are written for two */
#ifndef LIMIT
#define LIMIT 1
#endif
#ifndef NEWLIMIT
#define NEWLIMIT LIMIT
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef AGAIN
#define AGAIN 0
#endif
#ifndef TICKETS
#define TICKETS 1
#endif
#ifndef MAXCRASH
#define MAXCRASH 0
#endif

#define NONE    0
#define WAITING 1
#define GRANTED 2

byte used;              /* permits handed out: the one contended word */
byte limit = LIMIT;
byte line;              /* order tags given out, in steps of two */

/* a worker's cell: only its owner writes it, but for WAITING -> GRANTED */
byte head[W];           /* with tag, one word: always read and written in one step */
byte tag[W];
byte held[W];
/* versions, as far as the audit asks: odd; changed since it looked (the master's own it need not ask) */
bit  busy[W + 1];
bit  moved[W + 1];
bit  auditing;

bit  wake[W];           /* eventfd */
bit  dead[W];           /* and not yet reaped */
byte crashes;
byte finished;
bit  twice[W];          /* only for the assert: held and, still, granted */

#define OWNED (held[0] + (head[0] == GRANTED) - twice[0] + held[1] + (head[1] == GRANTED) - twice[1])
#define HIGHEST (LIMIT > NEWLIMIT -> LIMIT : NEWLIMIT)
#define some_corpse (dead[0] || dead[1])

inline may_die(me) {
        if
        :: (me < W && crashes < MAXCRASH) -> crashes++; goto die
        :: skip
        fi
}
inline begin_step(me) { d_step { busy[me] = me < W; moved[me] = auditing } }
inline end_step(me)   { busy[me] = 0 }
inline owned_more()   { assert(OWNED <= HIGHEST) }

/* One cell of first_in_line(). */
inline look(i) {
        d_step {
                ok = head[i] == WAITING && (best == W || tag[i] < best_tag);
                best = (ok -> i : best);
                best_tag = (ok -> tag[i] : best_tag);
                ok = 0
        }
}

/* dispatch(), with hand_over() in it */
inline dispatch(me) {
        do
        :: best = W;
           look(0);
           look(1);
           if
           :: best == W -> break                /* nobody waits */
           :: else
           fi;
#if LIMIT == NEWLIMIT
           d_step { most = limit; seen = used };
#else
           most = limit;
           seen = used;
#endif
           if
           :: seen >= most -> break             /* nothing to give */
           :: else -> most = 0
           fi;
           begin_step(me);
           atomic {
                if
                :: used == seen -> used++; ok = 1
                :: else -> ok = 0
                fi
           };
           if
           :: ok ->
                may_die(me);
                d_step {
                        ok = head[best] == WAITING && tag[best] == best_tag;
                        head[best] = (ok -> GRANTED : head[best]);
                        owned_more()
                };
                may_die(me);
                if
                :: ok
                :: else ->
                        used--;
                        may_die(me)
                fi;
                end_step(me);
                if
                :: ok ->
                        may_die(me);
                        if
                        :: best != me -> wake[best] = 1
                        :: else
                        fi
#ifdef MUTATE_NO_SECOND_LOOK
                :: else -> break
#else
                :: else                         /* and look again */
#endif
                fi
           :: else -> end_step(me)
           fi;
           d_step { best = W; best_tag = 0; seen = 0; most = 0; ok = 0 }
        od;
        atomic { best = W; best_tag = 0; seen = 0; most = 0; ok = 0 }
}

/* Our published ticket goes; what the head is to be instead. */
inline next_head(me) {
        d_step {
                head[me] = (second -> WAITING : NONE);
                tag[me] = second;
                twice[me] = 0;
                first = second;
                second = 0
        }
}

inline arrive(me) {
        if
        :: !first ->
                d_step { line = line + 2; first = line };
                d_step { tag[me] = first; head[me] = WAITING }  /* publish, then look */
        :: else ->
#ifdef BETTER
                if
                :: d_step { line = line + 2; second = line }
                :: second = first - 1;
                   /* a better one: it takes the place of the published one, unless that is granted */
                   atomic {
                        if
                        :: head[me] == WAITING -> tag[me] = second; second = first; first = tag[me]
                        :: else
                        fi
                   }
                fi
#else
                d_step { line = line + 2; second = line }
#endif
        fi;
        may_die(me);
#ifndef MUTATE_ARRIVE_WITHOUT_DISPATCH
        dispatch(me)
#endif
}

inline try(me) {
        best = W;
        look(0);
        look(1);
        if
        :: best == W ->
                most = limit;
                begin_step(me);
                atomic {
                        if
                        :: used < most -> used++; ok = 1        /* the loop of compare-and-swap */
                        :: else -> ok = 0
                        fi
                };
                if
                :: ok -> may_die(me); d_step { held[me]++; owned_more() }
                :: else
                fi;
                end_step(me)
        :: else
        fi;
        d_step { best = W; best_tag = 0; seen = 0; most = 0; ok = 0 }
}

inline collect(me) {
        begin_step(me);
        d_step { held[me]++; twice[me] = 1 };
        may_die(me);
        next_head(me);
        end_step(me);
        may_die(me);
        if
        :: first -> dispatch(me)
        :: else
        fi
}

inline release(me) {
        begin_step(me);
#ifdef MUTATE_USED_BEFORE_HELD
        used--;
        may_die(me);
        held[me]--;
#else
        held[me]--;
        may_die(me);
        used--;
#endif
        end_step(me);
        may_die(me);
#ifndef MUTATE_RELEASE_WITHOUT_DISPATCH
        dispatch(me)
#endif
}

inline cancel(me) {
        atomic {
                if
                :: head[me] == WAITING -> next_head(me); ok = 1
                :: else -> ok = 0
                fi
        };
        if
        :: ok
        :: else ->                      /* granted meanwhile: give it on */
                begin_step(me);
                next_head(me);
                may_die(me);
#ifndef MUTATE_KEEP_LATE_GRANT
                used--;
#endif
                end_step(me);
                may_die(me);
                dispatch(me)
        fi;
        ok = 0
}

proctype worker(byte me) {
        byte best = W, best_tag, seen, most, left, first, second;
        bit ok;

        left = ROUNDS;
live:  
        do
        :: head[me] == GRANTED -> collect(me)   /* gate_poll() at the end of each turn */
        :: head[me] != GRANTED ->
                if
                :: left && (!first || (TICKETS == 2 && !second)) -> left--; arrive(me)
#ifdef TRY
                :: left && !first -> left--; try(me)
#endif
                :: first -> cancel(me)
                :: held[me] -> release(me)
                :: first && !held[me] -> wake[me]; wake[me] = 0         /* sleeps */
                :: !left && !first && !held[me] -> break
                fi
        od;
        goto fin;
die:    atomic { best = W; best_tag = 0; seen = 0; most = 0; ok = 0; left = AGAIN; first = 0; second = 0; dead[me] = 1 };
        !dead[me] -> goto live;                 /* its successor */
fin:    wake[me] = 0; finished++
}

inline reap(i) {
        if
        :: dead[i] ->
                head[i] = NONE;
                d_step { tag[i] = 0; held[i] = 0; twice[i] = 0; busy[i] = 0; dead[i] = 0; unaudited = 1 }
        :: else
        fi
}

inline version(i) {
        d_step {
#ifndef MUTATE_AUDIT_IN_A_STEP
                quiet = quiet && !busy[i];
#endif
                moved[i] = 0;
                auditing = 1
        }
}
#ifdef MUTATE_AUDIT_WITHOUT_GRANTED
#define GRANTS(i) 0
#else
#define GRANTS(i) (head[i] == GRANTED)
#endif
inline cell(i) { sum = sum + held[i]; sum = sum + GRANTS(i) }
inline version_again(i) {
#ifdef MUTATE_AUDIT_READS_ONCE
        skip
#else
        quiet = quiet && !moved[i]
#endif
}

proctype master() {
        byte best = W, best_tag, seen, most, sum;
        bit ok, quiet, unaudited;
end:
        do
        :: some_corpse ->               /* all of them, before the audit */
                reap(0);
                reap(1)
        :: unaudited && !some_corpse ->
                quiet = 1;
                version(0);
                version(1);
                if
                :: quiet ->
                        cell(0);
                        cell(1);
                        seen = used;
                        version_again(0);
                        version_again(1)
                :: else
                fi;
                if
                :: quiet ->
                        assert(seen >= sum);            /* none was invented */
                        used = used - (seen - sum);     /* one atomic subtraction */
                        d_step { sum = 0; seen = 0; quiet = 0; auditing = 0; moved[0] = 0; moved[1] = 0; unaudited = 0 };
#ifndef MUTATE_AUDIT_WITHOUT_DISPATCH
                        dispatch(W);
#endif
#ifndef MUTATE_AUDIT_WITHOUT_WAKE
                        wake[0] = 1; wake[1] = 1        /* the dead one may have granted, unsaid */
#endif
                :: else -> d_step { sum = 0; seen = 0; quiet = 0; auditing = 0; moved[0] = 0; moved[1] = 0 }      /* at the next tick */
                fi
        :: limit != NEWLIMIT ->
                limit = NEWLIMIT;
#ifndef MUTATE_LIMIT_WITHOUT_DISPATCH
                dispatch(W)
#endif
        :: finished == W && !some_corpse && !unaudited && limit == NEWLIMIT -> break
        od;
        assert(used == 0 && OWNED == 0);        /* none was lost */
die:    skip
}

init { atomic { run master(); run worker(0); run worker(1) } }
